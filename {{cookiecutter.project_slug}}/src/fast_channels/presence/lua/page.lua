-- A page of a roster's keys, in the order of their bytes. Writes nothing.
--
-- KEYS     as in hold.lua
-- ARGV[1]  the key behind which it begins, '' for the first page
-- ARGV[2]  how many keys to look at, at most
-- ARGV[3]  '' for all keys; or a process, for those alone that it holds
-- returns  {epoch, version, 1 if there may be more, last key looked at, key, connections, info, key, ...}
local entries, index, about = KEYS[1], KEYS[2], KEYS[3]
local start = ARGV[1] == '' and '-' or '(' .. ARGV[1]
local keys = redis.call('ZRANGEBYLEX', index, start, '+', 'LIMIT', 0, ARGV[2])
local reply = {redis.call('HGET', about, 'epoch') or '', redis.call('HGET', about, 'version') or '0',
               #keys == tonumber(ARGV[2]) and 1 or 0, keys[#keys] or ''}
for _, key in ipairs(keys) do
  local packed = redis.call('HGET', entries, key)
  if packed then
    local shown, parts = unpack(cmsgpack.unpack(packed))
    if ARGV[3] == '' or parts[ARGV[3]] then
      local best, by, info = -1, '', ''
      for id, part in pairs(parts) do
        if part[3] > best or (part[3] == best and id > by) then
          best, by, info = part[3], id, part[4]
        end
      end
      reply[#reply + 1] = key
      reply[#reply + 1] = shown
      reply[#reply + 1] = info
    end
  end
end
return reply
