-- A part of other scripts: the epoch, which is the reign of one primary. It ends with the server's
-- process, and whenever a replica takes over; '' if the user of the connection may not call INFO.
local function epoch()
  local server, replication = redis.pcall('INFO', 'server'), redis.pcall('INFO', 'replication')
  if type(server) ~= 'string' or type(replication) ~= 'string' then
    return ''
  end
  local run, reign = server:match('run_id:(%x+)'), replication:match('master_replid:(%x+)')
  return run and reign and redis.sha1hex(run .. reign):sub(1, 12) or ''
end
