-- Write what one process holds of some keys of a roster, and tell what that changes to those who watch.
--
-- KEYS[1]  the roster (hash: key and who holds it); also the name of the notification channel
-- KEYS[2]  its keys in order (sorted set)
-- KEYS[3]  about it (hash: "epoch", "version", "watched" until when, and of each process ":" and its id
--          the number of its last write and when that was confirmed)
-- ARGV[1]  PUBLISH, or SPUBLISH in a Cluster
-- ARGV[2]  process
-- ARGV[3]  number of the write
-- ARGV[4]  number of its last write that was confirmed
-- ARGV[5]  epoch, for a roster that has none
-- ARGV[6]  how many keys the roster may have
-- ARGV[7]  how long it lives without being written or confirmed, in milliseconds; an empty one a thirtieth
-- ARGV[8]  and following: for each key its name, connections, those within their grace, info, 1 if the
--          info is news
-- returns  {"refused"} if the process has written something newer, {"lost"} if the confirmed write is not
--          there, both without a change; else {"done"}, the epoch, the version that has all of this, and
--          the keys for which there was no room
--
-- A key's value is packed: {connections as shown, {process: {connections, within grace, stamp, info}}}.
-- Shown is the info with the latest stamp.
local entries, index, about = KEYS[1], KEYS[2], KEYS[3]
local process, number = ARGV[2], tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local stamp = time[1] * 1000000 + time[2]

local last = redis.call('HGET', about, ':' .. process)
local last_number = tonumber(last and string.match(last, '^%d+') or 0)
if last_number > number then
  return {'refused'}
elseif last_number < tonumber(ARGV[4]) then
  return {'lost'}
end
if last_number < number then
  redis.call('HSET', about, ':' .. process, string.format('%.0f %.0f', number, now))
end
redis.call('HSETNX', about, 'epoch', ARGV[5])
local epoch = redis.call('HGET', about, 'epoch')
local version = tonumber(redis.call('HGET', about, 'version') or 0)
local before, size = version, redis.call('ZCARD', index)

local function shown_info(parts)
  local best, by, info = -1, '', ''
  for id, part in pairs(parts) do
    if part[3] > best or (part[3] == best and id > by) then
      best, by, info = part[3], id, part[4]
    end
  end
  return info
end

local reply, changes = {'done', epoch, ''}, {}

local function changed(kind, key, shown, info)
  version = version + 1
  changes[#changes + 1] = struct.pack('>BI4I4I4', kind, shown, #key, #info) .. key .. info
end

local function hold(key, live, lingering, info, fresh)
  local packed = redis.call('HGET', entries, key)
  local shown, parts = 0, {}
  if packed then
    shown, parts = unpack(cmsgpack.unpack(packed))
  elseif live + lingering == 0 then
    return
  elseif size >= tonumber(ARGV[6]) then
    reply[#reply + 1] = key
    return
  end
  local own, shown_before, info_before = parts[process], shown, shown_info(parts)
  if live + lingering == 0 then
    parts[process] = nil
  else
    parts[process] = {live, lingering, (own and not fresh) and own[3] or stamp, info}
  end
  if next(parts) == nil then
    redis.call('HDEL', entries, key)
    redis.call('ZREM', index, key)
    size = size - 1
    changed(2, key, 0, '')
    return
  end
  local there, left = 0, 0
  for _, part in pairs(parts) do
    there, left = there + part[1], left + part[2]
  end
  shown = math.max(1, there, math.min(shown, there + left))
  local info_now = shown_info(parts)
  redis.call('HSET', entries, key, cmsgpack.pack({shown, parts}))
  if not packed then
    redis.call('ZADD', index, 0, key)
    size = size + 1
    changed(1, key, shown, info_now)
  elseif shown ~= shown_before or info_now ~= info_before then
    changed(3, key, shown, info_now)
  end
end

for i = 8, #ARGV, 5 do
  hold(ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2]), ARGV[i + 3], ARGV[i + 4] == '1')
end
if version > before then
  redis.call('HSET', about, 'version', string.format('%.0f', version))
  local watched = tonumber(redis.call('HGET', about, 'watched') or 0)
  if watched >= now then
    redis.call(ARGV[1], entries, string.format('%s %.0f ', epoch, before) .. table.concat(changes))
  end
end
reply[3] = string.format('%.0f', version)
local expires = tonumber(ARGV[7])
if size == 0 then
  expires = math.floor(expires / 30)  -- longer than anything that was written earlier is under way
end
for _, key in ipairs(KEYS) do
  redis.call('PEXPIRE', key, string.format('%.0f', expires))
end
return reply
