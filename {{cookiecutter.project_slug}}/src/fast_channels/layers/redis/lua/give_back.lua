-- End the lease of a message after a delay, and wake those who wait if there is none.
--
-- KEYS[1]  channel (stream)
-- ARGV[1]  consumer group
-- ARGV[2]  consumer
-- ARGV[3]  entry id
-- ARGV[4]  attempt that the caller's lease is
-- ARGV[5]  age that the lease gets, in milliseconds
-- ARGV[6]  attempts that the message has had
-- ARGV[7]  1 to wake
-- ARGV[8]  PUBLISH, or SPUBLISH in a Cluster
-- returns  1 if the lease is the caller's, 0 if it was lost, upon which nothing is done
local pending = redis.pcall('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1)
if pending.err or not pending[1] or pending[1][4] ~= tonumber(ARGV[4]) then
  return 0
end
redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[3], 'IDLE', ARGV[5], 'RETRYCOUNT', ARGV[6],
           'JUSTID')
if ARGV[7] == '1' then
  redis.call(ARGV[8], KEYS[1], 'again')
end
return 1
