-- Move a leased message to the dead letters of its channel.
--
-- KEYS[1]  channel (stream)
-- KEYS[2]  dead letters of the channel (stream)
-- ARGV[1]  consumer group
-- ARGV[2]  entry id
-- ARGV[3]  how many dead letters are kept, roughly
-- returns  1 if it was moved, 0 if it is not in the channel any more
local entry = redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[2])[1]
if not entry then
  return 0
end
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[3], '*', unpack(entry[2]))
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
redis.call('XDEL', KEYS[1], ARGV[2])
return 1
