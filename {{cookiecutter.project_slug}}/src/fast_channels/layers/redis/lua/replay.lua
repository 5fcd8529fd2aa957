-- Move a dead letter back into its channel, as a message that nobody has tried yet.
--
-- KEYS[1]  channel (stream, and notification channel)
-- KEYS[2]  dead letters of the channel (stream)
-- ARGV[1]  id of the dead letter
-- ARGV[2]  envelope
-- ARGV[3]  capacity of the channel in messages
-- ARGV[4]  expiry of messages in milliseconds
-- ARGV[5]  PUBLISH, or SPUBLISH in a Cluster
-- returns  {1 if it was moved, 0 if there is no such letter, -1 if the channel is full;
--          number of expired messages that were dropped}
if #redis.call('XRANGE', KEYS[2], ARGV[1], ARGV[1]) == 0 then
  return {0, 0}
end
local now = redis.call('TIME')
local oldest = now[1] * 1000 + math.floor(now[2] / 1000) - ARGV[4]
local expired = redis.call('XTRIM', KEYS[1], 'MINID', '=', string.format('%.0f', oldest))
if redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[3]) then
  return {-1, expired}
end
local id = redis.call('XADD', KEYS[1], '*', 'm', ARGV[2])
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', ARGV[4] + 60000))
redis.call('XDEL', KEYS[2], ARGV[1])
redis.call(ARGV[5], KEYS[1], id)
return {1, expired}
