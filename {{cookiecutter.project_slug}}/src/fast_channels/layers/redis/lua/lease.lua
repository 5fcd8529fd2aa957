-- Lease messages of a named channel: first those whose lease has ended, then new ones.
--
-- KEYS[1]  channel (stream)
-- KEYS[2]  when what was given back with a delay is due (sorted set: entry ids by milliseconds)
-- ARGV[1]  consumer group
-- ARGV[2]  consumer that holds the leases
-- ARGV[3]  consumer that holds what waits for its delay
-- ARGV[4]  how many messages at most
-- ARGV[5]  length of a lease in milliseconds
-- ARGV[6]  expiry of messages in milliseconds
-- ARGV[7]  1 to look for ended leases, 0 for new messages only
-- ARGV[8]  and following: entry ids that are dealt with, to be removed first
-- returns  {number of expired messages that were dropped, 1 if there may be more to take at once,
--          entry id, envelope, attempt, entry id, ...}
--          (Flat: before Redis 7 each table of a reply is written by itself.)
local MOST, PAGE = 1000, 100  -- messages that one call looks at beyond those that it leases
local key, group, consumer = KEYS[1], ARGV[1], ARGV[2]
local wanted = tonumber(ARGV[4])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local oldest = now - ARGV[6]
local reply, leased = {0, 0}, 0

if ARGV[8] then
  redis.call('XACK', key, group, unpack(ARGV, 8))
  redis.call('XDEL', key, unpack(ARGV, 8))
end

-- Returns whether it was leased; what has expired is dropped.
local function keep(entry, attempt)
  if tonumber(string.match(entry[1], '^%d+')) < oldest then
    redis.call('XACK', key, group, entry[1])
    redis.call('XDEL', key, entry[1])
    reply[1] = reply[1] + 1
    return false
  end
  leased = leased + 1
  for _, value in ipairs({entry[1], entry[2][2], attempt}) do
    reply[#reply + 1] = value
  end
  return true
end

-- What is due gets a lease that has ended.
local function end_delays()
  local now_text = string.format('%.0f', now)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now_text, 'LIMIT', 0, wanted)) do
    local pending = redis.pcall('XPENDING', key, group, id, id, 1, ARGV[3])
    if not pending.err and pending[1] then  -- else it was acknowledged meanwhile
      redis.call('XCLAIM', key, group, consumer, 0, id, 'IDLE', ARGV[5],
                 'RETRYCOUNT', pending[1][4], 'JUSTID')
    end
    redis.call('ZREM', KEYS[2], id)
  end
end

local function claim()
  local looked, start = 0, '-'
  repeat
    local ended = redis.pcall('XPENDING', key, group, 'IDLE', ARGV[5], start, '+', wanted - leased,
                              consumer)
    if ended.err then  -- no such group yet
      return
    end
    for _, pending in ipairs(ended) do
      local entry = redis.call('XCLAIM', key, group, consumer, ARGV[5], pending[1])[1]
      if entry then
        keep(entry, pending[4] + 1)
      else
        redis.call('XACK', key, group, pending[1])  -- expired and trimmed
      end
      start = '(' .. pending[1]
    end
    looked = looked + #ended
  until #ended == 0 or leased == wanted or looked >= MOST
  if leased == wanted or looked >= MOST then
    reply[2] = 1
  end
end

-- Returns the id of the last new message that had expired.
local function read()
  local function execute()
    return redis.pcall('XREADGROUP', 'GROUP', group, consumer, 'COUNT', wanted - leased,
                       'STREAMS', key, '>')
  end
  local new, stale = execute(), nil
  if type(new) == 'table' and new.err then
    redis.call('XGROUP', 'CREATE', key, group, '0', 'MKSTREAM')
    redis.call('PEXPIRE', key, string.format('%.0f', ARGV[6] + 60000))
    new = execute()
  end
  for _, entry in ipairs(new and new[1][2] or {}) do
    if not keep(entry, 1) then
      stale = entry[1]
    end
  end
  return stale
end

-- Delete, unread, what has expired behind this one; returns whether that is all.
local function drop_behind(stale)
  for _ = 1, MOST / PAGE do
    local ids = {}
    for i, entry in ipairs(redis.call('XRANGE', key, '(' .. stale,
                                      string.format('%.0f', oldest - 1), 'COUNT', PAGE)) do
      ids[i] = entry[1]
    end
    if #ids > 0 then
      reply[1] = reply[1] + redis.call('XDEL', key, unpack(ids))
    end
    if #ids < PAGE then
      return true
    end
  end
  return false
end

if ARGV[7] == '1' then
  end_delays()
  claim()
end
if leased < wanted then
  local stale = read()
  if stale and leased < wanted then
    if drop_behind(stale) then
      read()
    else
      reply[2] = 1
    end
  end
end
return reply
