-- A leased message is dealt with: remove it, even if the lease has ended and somebody else has it now.
--
-- KEYS[1]  channel (stream)
-- ARGV[1]  consumer group
-- ARGV[2]  entry id
-- returns  1 if the message was still there, else 0
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
return redis.call('XDEL', KEYS[1], ARGV[2])
