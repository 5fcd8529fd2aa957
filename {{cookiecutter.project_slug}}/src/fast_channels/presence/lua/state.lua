-- Tell the version of a roster and who has written to it, and confirm what one process holds there.
--
-- KEYS     as in hold.lua
-- ARGV[1]  process
-- ARGV[2]  epoch, for a roster that has none
-- ARGV[3]  milliseconds for which changes are to be told from now on, or 0
-- ARGV[4]  milliseconds after which a confirmation is renewed
-- ARGV[5]  milliseconds after which what was not confirmed is stale
-- ARGV[6]  how long the roster lives without being written or confirmed, in milliseconds
-- returns  {epoch, version, process, number of its last write, 1 if that is stale, process, ...}
local ENDING = 9007199254740990  -- from this number on the process is dead
local about = KEYS[3]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if ARGV[3] ~= '0' then
  redis.call('HSETNX', about, 'epoch', ARGV[2])  -- else nothing is written for a group that is only looked at
end
local watched = tonumber(redis.call('HGET', about, 'watched') or 0)
if watched < now + ARGV[3] / 2 and ARGV[3] ~= '0' then
  redis.call('HSET', about, 'watched', string.format('%.0f', now + ARGV[3]))
end
local reply = {redis.call('HGET', about, 'epoch') or '', redis.call('HGET', about, 'version') or '0'}
local fields = redis.call('HGETALL', about)
for i = 1, #fields, 2 do
  local process = string.match(fields[i], '^:(.*)')
  if process then
    local number, confirmed = string.match(fields[i + 1], '^(%d+) (%d+)')
    local age = now - confirmed
    if process == ARGV[1] and age > tonumber(ARGV[4]) and tonumber(number) < ENDING then
      redis.call('HSET', about, fields[i], string.format('%s %.0f', number, now))
      age = 0
    end
    if age > tonumber(ARGV[6]) then
      redis.call('HDEL', about, fields[i])
    else
      reply[#reply + 1] = process
      reply[#reply + 1] = number
      reply[#reply + 1] = age > tonumber(ARGV[5]) and 1 or 0
    end
  end
end
if ARGV[3] ~= '0' or redis.call('EXISTS', KEYS[1]) == 1 then
  for _, key in ipairs(KEYS) do
    if redis.call('PTTL', key) < ARGV[6] / 2 then
      redis.call('PEXPIRE', key, ARGV[6])
    end
  end
end
return reply
