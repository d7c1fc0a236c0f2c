-- take_ready.lua: takes runs that wait for their plan, longest waiting first, with all that the plan needs.
-- Reads: the ready set, and of each run its record, last checkpoint, values and tasks. Writes: the ready set; the lost plans
-- of a run that somebody took before and neither advanced nor gave back: its score has a half. They count for one revision.
-- ARGV: limit, hold in ms, the bytes after which no further run is taken, the most tasks that come along.
-- Returns: for each run { id, record as field, value, …; its last checkpoint or ''; values as channel@version,
-- value, …; @ of the step or ''; tasks as name, record, o, h, f, x, b, …, which are left out if they are too many }.

local limit, hold, bytes_max, tasks_max = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local bytes = 0

local function size_of(list)
  for i = 1, #list do bytes = bytes + #list[i] end
end

local function checkpoint_of(id, step)
  if not step then return '' end
  local found = redis.call('ZRANGEBYSCORE', P .. 'ckpt:' .. id, step, step, 'LIMIT', 0, 1)
  return found[1] or ''
end

local function tasks_of(id, step)
  local key = P .. 'step:' .. id .. ':' .. step
  local got = redis.call('HMGET', key, '@', '#0')
  if not got[1] then return '', {} end
  local count, rows = tonumber(string.match(got[1], '|(%d+)$') or 0), {}
  if count > tasks_max or not got[2] then return got[1], rows end
  for name in string.gmatch(got[2], '[^\n]+') do
    rows[#rows + 1] = name
    local row = redis.call('HMGET', key, name, name .. '|o', name .. '|h', name .. '|f', name .. '|x', name .. '|b')
    for _, field in ipairs(row) do rows[#rows + 1] = field or '' end
  end
  return got[1], rows
end

local answer = {}
local due = redis.call('ZRANGEBYSCORE', READY, '-inf', now, 'WITHSCORES', 'LIMIT', 0, limit)
for at = 1, #due, 2 do
  local id = due[at]
  if tonumber(due[at + 1]) % 1 > 0 then
    local key = P .. 'run:' .. id
    local got = redis.call('HMGET', key, 'status', 'rev', 'lost')
    local revision, before, lost = got[2] or '0', string.match(got[3] or '', '^(%d+)|(%d+)$')
    lost = before == revision and tonumber(lost) or 0
    if got[1] then redis.call('HSET', key, 'lost', revision .. '|' .. (lost + 1)) end
  end
  local record = redis.call('HGETALL', P .. 'run:' .. id)
  if #record == 0 then
    redis.call('ZREM', READY, id)
  else
    redis.call('ZADD', READY, now + hold - 0.5, id)
    local fields = {}
    for i = 1, #record, 2 do fields[record[i]] = record[i + 1] end
    local checkpoint = checkpoint_of(id, fields.ckpt)
    local values = values_of(id, fields.vers or '')
    local meta, rows = tasks_of(id, fields.step or '0')
    bytes = bytes + #checkpoint
    size_of(record)
    size_of(values)
    size_of(rows)
    answer[#answer + 1] = { id, record, checkpoint, values, meta, rows }
    if bytes >= bytes_max then break end
  end
end
return done(answer)
