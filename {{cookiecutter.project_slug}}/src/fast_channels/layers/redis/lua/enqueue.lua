-- Append a message to a named channel, unless it is full, and wake those who wait for one: who waits
-- has found nothing to lease, so only the first message after that has to be announced.
--
-- KEYS[1]  channel: the name of the stream and of the notification channel
-- ARGV[1]  envelope
-- ARGV[2]  capacity in messages; leased ones count until they are acknowledged
-- ARGV[3]  expiry in milliseconds
-- ARGV[4]  PUBLISH, or SPUBLISH in a Cluster
-- ARGV[5]  consumer group
-- returns  the number of expired messages that were dropped; if the channel is full, -1 less that number.
--          (No table: before Redis 7 each one in a pipeline's replies is written by itself.)
local now = redis.call('TIME')
local oldest = now[1] * 1000 + math.floor(now[2] / 1000) - ARGV[3]
local expired = 0
-- Trimmed only when that matters: Redis 6.2 lets a script that has written go on over maxmemory.
if redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[2]) then
  expired = redis.call('XTRIM', KEYS[1], 'MINID', '=', string.format('%.0f', oldest))
  if redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[2]) then
    return -1 - expired
  end
end
local waiting = false
if redis.call('EXISTS', KEYS[1]) == 1 then
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
    if group[2] == ARGV[5] then
      waiting = #redis.call('XRANGE', KEYS[1], '(' .. group[8], '+', 'COUNT', 1) > 0
    end
  end
end
local id = redis.call('XADD', KEYS[1], '*', 'm', ARGV[1])
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', ARGV[3] + 60000))  -- nothing in it lives longer
if not waiting then
  redis.call(ARGV[4], KEYS[1], id)
end
return expired
