-- Append messages to a topic's log and tell the processes that listen, in one step: so the order of
-- the log is the order of the notifications, and a listener that was cut off reads on from the log.
--
-- KEYS[1]  topic: the name of the stream and of the notification channel
-- ARGV[1]  uid of the first message; the others follow it
-- ARGV[2]  how many entries the log keeps, roughly (XADD MAXLEN ~)
-- ARGV[3]  how long the log has to live from now on at least, in milliseconds
-- ARGV[4]  PUBLISH, or SPUBLISH in a Cluster
-- ARGV[5]  "by bus" to name the entry before in the notification: over the bus of a Cluster
--          notifications may be lost, or overtake each other, although the listener's connection holds
-- ARGV[6]  and following: messages; each becomes an entry of its own, the second and later ones with
--          their index behind that uid
-- returns  the last entry's id
local before = '-'
if ARGV[5] == 'by bus' then
  local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
  before = last and last[1] or '0-0'
end
local first = ARGV[1] .. ARGV[6]
local id = redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*', 'm', first)
for i = 7, #ARGV do
  id = redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*', 'm', ARGV[1] .. ARGV[i], 'i', i - 6)
end
-- Looked at each time: nobody else knows whether the key is the one that got its time to live before.
-- Given half as long again, and 30 s at most, so that few messages write it (to replicas and to disk).
local expiry = tonumber(ARGV[3])
if redis.call('PTTL', KEYS[1]) < expiry then
  redis.call('PEXPIRE', KEYS[1], string.format('%.0f', expiry + math.min(expiry / 2, 30000)))
end
redis.call(ARGV[4], KEYS[1], id .. ' ' .. before .. ' ' .. first .. table.concat(ARGV, '', 7))
return id
