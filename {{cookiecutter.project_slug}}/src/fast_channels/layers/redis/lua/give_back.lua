-- End the leases of messages: at once, and wake those that wait, or after a delay. A message whose lease
-- the caller has lost is left alone.
--
-- KEYS[1]  channel (stream)
-- KEYS[2]  when what was given back with a delay is due (sorted set: entry ids by milliseconds)
-- ARGV[1]  consumer group
-- ARGV[2]  consumer that holds the leases
-- ARGV[3]  consumer that holds what waits for its delay
-- ARGV[4]  delay in milliseconds, or 0; no message waits longer than until it expires
-- ARGV[5]  length of a lease in milliseconds
-- ARGV[6]  expiry of messages in milliseconds
-- ARGV[7]  1 if the attempts count, 0 if they do not
-- ARGV[8]  PUBLISH, or SPUBLISH in a Cluster
-- ARGV[9]  and following: for each message its entry id and the attempt that the caller's lease is
-- returns  how many leases were the caller's
local key, group, consumer, delay = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[4])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local given = 0
for i = 9, #ARGV, 2 do
  local id, attempt = ARGV[i], tonumber(ARGV[i + 1])
  local pending = redis.pcall('XPENDING', key, group, id, id, 1, consumer)
  if not pending.err and pending[1] and pending[1][4] == attempt then
    given = given + 1
    local attempts = attempt - 1 + ARGV[7]
    if delay > 0 then
      local expires = string.match(id, '^%d+') + ARGV[6]
      redis.call('XCLAIM', key, group, ARGV[3], 0, id, 'RETRYCOUNT', attempts, 'JUSTID')
      redis.call('ZADD', KEYS[2], string.format('%.0f', math.min(now + delay, expires)), id)
    else
      redis.call('XCLAIM', key, group, consumer, 0, id, 'IDLE', ARGV[5], 'RETRYCOUNT', attempts,
                 'JUSTID')
    end
  end
end
if delay > 0 then
  redis.call('PEXPIRE', KEYS[2], string.format('%.0f', ARGV[6] + 60000))  -- nothing in it is due later
elseif given > 0 then
  redis.call(ARGV[8], key, 'again')
end
return given
