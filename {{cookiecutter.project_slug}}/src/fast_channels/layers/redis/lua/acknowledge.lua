-- Leased messages are dealt with: remove them, even if a lease has ended and somebody else has it now.
--
-- KEYS[1]  channel (stream)
-- ARGV[1]  consumer group
-- ARGV[2]  and following: entry ids, at most some thousands
-- returns  how many of the messages were still there
redis.call('XACK', KEYS[1], unpack(ARGV))
return redis.call('XDEL', KEYS[1], unpack(ARGV, 2))
