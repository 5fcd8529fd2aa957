-- What logs say after the entries that were heard last; and the server's clock. Writes nothing.
--
-- after    epoch.lua
-- KEYS[1]  and following: topics (streams)
-- ARGV[1]  1 to be told the epoch
-- ARGV[2]  how many entries of a topic at most, and
-- ARGV[3]  how many bytes of all, roughly
-- ARGV[4]  and following: for each topic the id of the last entry, "0-0" for an empty log, "$" to be told
--          the newest one only; and the id to begin from where that entry does not stand in the log
-- returns  milliseconds of the clock; the epoch; and for each topic the id of the newest entry, "0-0" for a
--          log that is empty or not there, if that is the last one or "$" was given; "!" and the error for a
--          key that is no log; else {id of the newest entry, length of the log, 1 if there may be more to
--          read, entry, ...}, where the first entry is the last one if that stands in the log
local PAGE = 10
local most, room = tonumber(ARGV[2]), tonumber(ARGV[3])

-- Page by page, so that the server never holds much more than it returns.
local function read(topic, start, answer)
  while room > 0 and #answer < most + 3 do
    local page = redis.call('XRANGE', topic, start, '+', 'COUNT', PAGE)
    for _, entry in ipairs(page) do
      answer[#answer + 1] = entry
      room = room - #entry[2][2]
    end
    if #page < PAGE then
      answer[3] = 0
      return
    end
    start = '(' .. page[PAGE][1]
  end
end

local function missed(topic, last, otherwise)
  local newest = redis.pcall('XREVRANGE', topic, '+', '-', 'COUNT', 1)
  if newest.err then
    return '!' .. newest.err
  end
  newest = newest[1] and newest[1][1] or '0-0'
  if last == '$' or last == newest then
    return newest
  end
  local answer = {newest, redis.call('XLEN', topic), 1}
  local stands = last == '0-0' or #redis.call('XRANGE', topic, last, last) == 1
  read(topic, stands and last or otherwise, answer)
  return answer
end

local now = redis.call('TIME')
local reply = {now[1] * 1000 + math.floor(now[2] / 1000), ARGV[1] == '1' and epoch() or ''}
for i, topic in ipairs(KEYS) do
  reply[i + 2] = missed(topic, ARGV[2 * i + 2], ARGV[2 * i + 3])
end
return reply
