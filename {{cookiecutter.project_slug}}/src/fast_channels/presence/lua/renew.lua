-- Let the lease of a process last from now on, take out those that have ended, and tell who is left.
--
-- KEYS[1]  registry (hash: "born" and when; each process and its deadline, behind which "!" if it resigned)
-- ARGV[1]  process
-- ARGV[2]  the deadline that it was told last, '' if it is new
-- ARGV[3]  length of its lease in milliseconds; of one that resigns what it still has
-- ARGV[4]  1 if it has held its lease for long enough to take out others
-- ARGV[5]  1 to resign
-- ARGV[6]  how long the registry lives without any renewal, in milliseconds
-- returns  {} if the lease was lost, or the registry is in an older state; else
--          {deadline, 1 if it had ended already, age of the registry in milliseconds, process, process, ...}
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local own = redis.call('HGET', KEYS[1], ARGV[1])
local held = own and tonumber(string.match(own, '^%d+'))
if ARGV[2] ~= '' and (not held or held < tonumber(ARGV[2])) then
  redis.call('HDEL', KEYS[1], ARGV[1])
  return {}
end
redis.call('HSETNX', KEYS[1], 'born', string.format('%.0f', now))
local lapsed = held and held < now
local deadline = string.format('%.0f', now + ARGV[3])
redis.call('HSET', KEYS[1], ARGV[1], deadline .. (ARGV[5] == '1' and '!' or ''))
redis.call('PEXPIRE', KEYS[1], ARGV[6])
local reply = {deadline, lapsed and 1 or 0, now - redis.call('HGET', KEYS[1], 'born')}
local fields = redis.call('HGETALL', KEYS[1])
for i = 1, #fields, 2 do
  local process, value = fields[i], fields[i + 1]
  if process ~= 'born' then
    local ended = tonumber(string.match(value, '^%d+')) < now
    local resigned = string.sub(value, -1) == '!'
    if ended and (resigned or (ARGV[4] == '1' and not lapsed)) then
      redis.call('HDEL', KEYS[1], process)
    else
      reply[#reply + 1] = process
    end
  end
end
return reply
