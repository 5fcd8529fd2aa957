-- End the lease of a message after a delay, and wake those who wait if there is none.
--
-- KEYS[1]  channel (stream)
-- ARGV[1]  consumer group
-- ARGV[2]  consumer
-- ARGV[3]  entry id
-- ARGV[4]  age that the lease gets, in milliseconds
-- ARGV[5]  attempts that the message has had
-- ARGV[6]  1 to wake
-- ARGV[7]  PUBLISH, or SPUBLISH in a Cluster
redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[3], 'IDLE', ARGV[4], 'RETRYCOUNT', ARGV[5],
           'JUSTID')
if ARGV[6] == '1' then
  redis.call(ARGV[7], KEYS[1], 'again')
end
