-- Append a message to a named channel, unless it is full, and wake those who wait for one.
--
-- KEYS[1]  channel: the name of the stream and of the notification channel
-- ARGV[1]  envelope
-- ARGV[2]  capacity in messages; leased ones count until they are acknowledged
-- ARGV[3]  expiry in milliseconds
-- ARGV[4]  PUBLISH, or SPUBLISH in a Cluster
-- returns  {1 or 0 if the channel is full, number of expired messages that were dropped}
local now = redis.call('TIME')
local oldest = now[1] * 1000 + math.floor(now[2] / 1000) - ARGV[3]
local expired = 0
-- Trimmed only when that matters: Redis 6.2 lets a script that has written go on over maxmemory.
if redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[2]) then
  expired = redis.call('XTRIM', KEYS[1], 'MINID', '=', string.format('%.0f', oldest))
  if redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[2]) then
    return {0, expired}
  end
end
local id = redis.call('XADD', KEYS[1], '*', 'm', ARGV[1])
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', ARGV[3] + 60000))  -- nothing in it lives longer
redis.call(ARGV[4], KEYS[1], id)
return {1, expired}
