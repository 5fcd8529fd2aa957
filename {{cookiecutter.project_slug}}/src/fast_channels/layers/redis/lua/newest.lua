-- The newest entries of logs, and the server's clock. Writes nothing.
--
-- after    epoch.lua
-- KEYS[1]  and following: topics (streams)
-- ARGV[1]  1 to be told the epoch
-- returns  milliseconds of the clock, the epoch, and for each topic the id of its newest entry, '' for a
--          log that is empty or not there, '!' and the error for a key that is no log
local now = redis.call('TIME')
local reply = {now[1] * 1000 + math.floor(now[2] / 1000), ARGV[1] == '1' and epoch() or ''}
for i, topic in ipairs(KEYS) do
  local entries = redis.pcall('XREVRANGE', topic, '+', '-', 'COUNT', 1)
  if entries.err then
    reply[i + 2] = '!' .. entries.err
  else
    reply[i + 2] = entries[1] and entries[1][1] or ''
  end
end
return reply
