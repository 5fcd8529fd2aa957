-- How many messages a named channel holds. What has expired is dropped first, so as not to count it.
--
-- KEYS[1]  channel (stream)
-- KEYS[2]  dead letters of the channel (stream)
-- ARGV[1]  consumer group
-- ARGV[2]  expiry of messages in milliseconds
-- returns  {waiting, leased, dead, number of expired messages that were dropped}
local now = redis.call('TIME')
local oldest = string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000) - ARGV[2])
local expired = redis.call('XTRIM', KEYS[1], 'MINID', '=', oldest)
local all = redis.call('XLEN', KEYS[1])
local leased = 0
if all > 0 then
  -- From the oldest on: what was trimmed may be pending still.
  local pending = redis.pcall('XPENDING', KEYS[1], ARGV[1], oldest, '+', all)
  if not pending.err then
    leased = #pending
  end
end
return {all - leased, leased, redis.call('XLEN', KEYS[2]), expired}
