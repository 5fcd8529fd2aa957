-- Append messages to a named channel, as many as it has room for, and wake those who wait for one: who
-- waits has found nothing to lease, so only the first message after that has to be announced.
--
-- KEYS[1]  channel: the name of the stream and of the notification channel
-- ARGV[1]  capacity in messages; leased ones count until they are acknowledged
-- ARGV[2]  expiry in milliseconds
-- ARGV[3]  PUBLISH, or SPUBLISH in a Cluster
-- ARGV[4]  consumer group
-- ARGV[5]  and following: envelopes
-- returns  "<how many were appended> <number of expired messages that were dropped>"
--          (No table: before Redis 7 each one in a pipeline's replies is written by itself.)
local now = redis.call('TIME')
local oldest = now[1] * 1000 + math.floor(now[2] / 1000) - ARGV[2]
local offered, expired = #ARGV - 4, 0
local room = ARGV[1] - redis.call('XLEN', KEYS[1])
-- Trimmed only when that matters: Redis 6.2 lets a script that has written go on over maxmemory.
if room < offered then
  expired = redis.call('XTRIM', KEYS[1], 'MINID', '=', string.format('%.0f', oldest))
  room = room + expired
end
local accepted = math.max(0, math.min(room, offered))
if accepted == 0 then
  return '0 ' .. expired
end
local waiting = false
if redis.call('EXISTS', KEYS[1]) == 1 then
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
    if group[2] == ARGV[4] then
      waiting = #redis.call('XRANGE', KEYS[1], '(' .. group[8], '+', 'COUNT', 1) > 0
    end
  end
end
local id
for i = 5, 4 + accepted do
  id = redis.call('XADD', KEYS[1], '*', 'm', ARGV[i])
end
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', ARGV[2] + 60000))  -- nothing in it lives longer
if not waiting then
  redis.call(ARGV[3], KEYS[1], id)
end
return accepted .. ' ' .. expired
