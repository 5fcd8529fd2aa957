-- Let the lease of a message last from now on, unless the lease was lost.
--
-- KEYS[1]  channel (stream)
-- ARGV[1]  consumer group
-- ARGV[2]  consumer that holds the leases
-- ARGV[3]  entry id
-- ARGV[4]  attempt that the caller's lease is
-- returns  1 if the lease is the caller's; 0 if it was lost, or if the message has expired and is gone
local pending = redis.pcall('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1, ARGV[2])
if pending.err or not pending[1] or pending[1][4] ~= tonumber(ARGV[4]) then
  return 0
end
redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[3], 'IDLE', 0, 'JUSTID')
return #redis.call('XRANGE', KEYS[1], ARGV[3], ARGV[3])
