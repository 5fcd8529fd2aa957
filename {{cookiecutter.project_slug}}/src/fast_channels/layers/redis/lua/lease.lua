-- Lease messages of a named channel: first those whose lease has ended, then new ones.
--
-- KEYS[1]  channel (stream)
-- ARGV[1]  consumer group
-- ARGV[2]  consumer
-- ARGV[3]  how many messages at most
-- ARGV[4]  length of a lease in milliseconds
-- ARGV[5]  expiry of messages in milliseconds
-- ARGV[6]  1 to look for ended leases, 0 for new messages only
-- returns  {number of expired messages that were dropped, entry id, envelope, attempt, entry id, ...}
--          (Flat: before Redis 7 each table of a reply is written by itself.)
local key, group, consumer = KEYS[1], ARGV[1], ARGV[2]
local wanted = tonumber(ARGV[3])
local now = redis.call('TIME')
local oldest = now[1] * 1000 + math.floor(now[2] / 1000) - ARGV[5]
local reply, leased = {0}, 0

local function keep(entry, attempt)
  if tonumber(string.match(entry[1], '^%d+')) < oldest then
    redis.call('XACK', key, group, entry[1])
    redis.call('XDEL', key, entry[1])
    reply[1] = reply[1] + 1
  else
    leased = leased + 1
    for _, value in ipairs({entry[1], entry[2][2], attempt}) do
      reply[#reply + 1] = value
    end
  end
end

if ARGV[6] == '1' then
  local ended = redis.pcall('XPENDING', key, group, 'IDLE', ARGV[4], '-', '+', wanted)
  if not ended.err then
    for _, pending in ipairs(ended) do
      local entry = redis.call('XCLAIM', key, group, consumer, ARGV[4], pending[1])[1]
      if entry then
        keep(entry, pending[4] + 1)
      else
        redis.call('XACK', key, group, pending[1])  -- expired and trimmed
      end
    end
  end
end

local function read()
  return redis.pcall('XREADGROUP', 'GROUP', group, consumer, 'COUNT', wanted - leased,
                     'STREAMS', key, '>')
end
if leased < wanted then
  local new = read()
  if type(new) == 'table' and new.err then
    redis.call('XGROUP', 'CREATE', key, group, '0', 'MKSTREAM')
    redis.call('PEXPIRE', key, string.format('%.0f', ARGV[5] + 60000))
    new = read()
  end
  if new then
    for _, entry in ipairs(new[1][2]) do
      keep(entry, 1)
    end
  end
end
return reply
