-- Move a leased message to the dead letters of its channel, unless the lease was lost.
--
-- KEYS[1]  channel (stream)
-- KEYS[2]  dead letters of the channel (stream): envelope, attempts and reason
-- ARGV[1]  consumer group
-- ARGV[2]  consumer that holds the leases
-- ARGV[3]  entry id
-- ARGV[4]  attempt that the caller's lease is
-- ARGV[5]  reason
-- ARGV[6]  how many dead letters are kept, roughly
-- returns  1 if it was moved, 0 if the lease was lost or the message has expired
local pending = redis.pcall('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1, ARGV[2])
if pending.err or not pending[1] or pending[1][4] ~= tonumber(ARGV[4]) then
  return 0
end
local entry = redis.call('XRANGE', KEYS[1], ARGV[3], ARGV[3])[1]
redis.call('XACK', KEYS[1], ARGV[1], ARGV[3])
if not entry then
  return 0
end
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[6], '*',
           'm', entry[2][2], 'attempts', ARGV[4], 'reason', ARGV[5])
redis.call('XDEL', KEYS[1], ARGV[3])
return 1
