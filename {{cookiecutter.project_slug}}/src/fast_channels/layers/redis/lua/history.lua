-- What a log says after the entry that a position names, or last; and in which epoch. Where the log is
-- empty it gets a first entry that is no message, so that there is one for a position to name.
--
-- An entry's tag is the lower half of each half of its message's uid, as two numbers.
--
-- after    epoch.lua
-- KEYS[1]  topic
-- ARGV[1]  epoch of the position; '' for none
-- ARGV[2]  id of the entry that it names, or of a later one of the same publication
-- ARGV[3]  and [4]: its tag
-- ARGV[5]  how many of the last messages are wanted where what came after the position is not to be had
-- ARGV[6]  how many messages at most, and
-- ARGV[7]  how many bytes
-- ARGV[8]  uid for a first entry, and
-- ARGV[9]  how long it has to live, in milliseconds
-- returns  the epoch ('' if the server does not tell); 1 if all that came after the position is here;
--          id and tag of the newest entry; 1 if it is a message; of some entries before the first one
--          here the uid and the index behind it; and of each one here id, envelope and index
local topic = KEYS[1]
local wanted, most, most_bytes = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local PAGE, BEFORE, LONGEST = 20, 20, 50

local function tag(entry)
  local fields = entry[2]
  if #fields[2] < 16 then
    return -1, -1
  end
  local counter = struct.unpack('>I4', fields[2], 13) + (tonumber(fields[4]) or 0)
  return struct.unpack('>I4', fields[2], 5), counter % 4294967296
end

-- The id of the entry with this tag: the one named, or up to LONGEST before it.
local function find(id, sender, counter)
  local named = redis.call('XRANGE', topic, id, id)[1]
  if not named then
    return nil
  end
  local named_sender, named_counter = tag(named)
  local back = (named_counter - counter) % 4294967296
  if named_sender ~= sender or back >= LONGEST then
    return nil
  end
  local found = redis.call('XREVRANGE', topic, id, '-', 'COUNT', back + 1)[back + 1]
  local found_sender, found_counter = -1, -1
  if found then
    found_sender, found_counter = tag(found)
  end
  return found_sender == sender and found_counter == counter and found[1] or nil
end

-- Page by page, so that the server never holds much more than it returns.
local function read(command, start, stop, count)
  local entries, bytes = {}, 0
  while true do
    local page = redis.call(command, topic, start, stop, 'COUNT', PAGE)
    for _, entry in ipairs(page) do
      bytes = bytes + #entry[2][2]
      if #entries == count or bytes > most_bytes then
        return entries, true
      end
      if entry[2][1] == 'm' then
        entries[#entries + 1] = entry
      end
      start = '(' .. entry[1]
    end
    if #page < PAGE then
      return entries, false
    end
  end
end

local newest = redis.call('XREVRANGE', topic, '+', '-', 'COUNT', 1)[1]
if not newest then
  newest = {redis.call('XADD', topic, '*', 's', ARGV[8]), {'s', ARGV[8]}}
  redis.call('PEXPIRE', topic, ARGV[9])
end
local reign = epoch()
local known = ARGV[1] ~= '' and find(ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]))
local entries, cut = nil, true
if known then
  entries, cut = read('XRANGE', '(' .. known, '+', most)
end
if cut then
  local last = read('XREVRANGE', '+', known and '(' .. known or '-', wanted)
  entries = {}
  for i = #last, 1, -1 do
    entries[#entries + 1] = last[i]
  end
end

local uids = {}
if entries[1] then
  for i, entry in ipairs(redis.call('XREVRANGE', topic, '(' .. entries[1][1], '-', 'COUNT', BEFORE)) do
    uids[2 * i - 1], uids[2 * i] = entry[2][2]:sub(1, 16), tonumber(entry[2][4]) or 0
  end
end
local sender, counter = tag(newest)
local complete = known and not cut and reign ~= '' and reign == ARGV[1]
local reply = {
  reign, complete and 1 or 0, newest[1], sender, counter, newest[2][1] == 'm' and 1 or 0, uids
}
for _, entry in ipairs(entries) do
  reply[#reply + 1] = entry[1]
  reply[#reply + 1] = entry[2][2]
  reply[#reply + 1] = tonumber(entry[2][4]) or 0
end
return reply
