-- base.lua: the first part of the prelude, put before every script of a partition, after the constants.
-- KEYS[1] is the partition's prefix, such as cox:{3}: ; all keys are built from it, so that a script stays in one slot.
-- Offers: runs and tasks that are read once and written back by `done`, the agenda, the audit trail.
-- Errors that the adapter knows: COXFORMAT key format, COXCORRUPT key why.

local P = KEYS[1]
local PARTITION = string.match(P, '{(%d+)}')

local AGENDA, READY, DEADLINES = P .. 'agenda', P .. 'ready', P .. 'deadlines'
local FORGET, LIVE, INDEX = P .. 'forget', P .. 'live', P .. 'idx'

local runs, tasks, nudge = {}, {}, false

local RUN_TEXT = { 'status', 'thread', 'from', 'base', 'parent', 'takeback', 'nonce', 'rnonce', 'resumed', 'ckpt' }
local RUN_NUMBERS = { 'step', 'rev', 'created', 'started', 'deadline', 'timeout', 'open', 'leases', 'kids', 'humans',
  'fence' }
local STOP_TEXT = { 'order', 'cause', 'grace', 'force' }
local STOP_NUMBERS = { 'ordered', 'forced', 'sleases', 'released', 'unconfirmed', 'closed' }
local FINAL = { succeeded = true, failed = true, timed_out = true, cancelled = true }

-- Runs: `run.field` reads, `put(run, field, value)` writes; absent text is false, an absent number 0.

local function put(run, field, value)
  run[field] = value
  run.dirty[field] = value
end

local function fetch(run, texts, numbers)
  local names = { 'v' }
  for _, name in ipairs(texts) do names[#names + 1] = name end
  for _, name in ipairs(numbers) do names[#names + 1] = name end
  local got = redis.call('HMGET', run.key, unpack(names))
  for i, name in ipairs(names) do run[name] = got[i] end
  for _, name in ipairs(numbers) do run[name] = tonumber(run[name] or 0) end
end

local function run_at(id)
  if runs[id] ~= nil then return runs[id] end
  local run = { id = id, key = P .. 'run:' .. id, dirty = {} }
  fetch(run, RUN_TEXT, RUN_NUMBERS)
  if not run.v then
    runs[id] = false
    return false
  end
  if run.v ~= FORMAT then error('COXFORMAT ' .. run.key .. ' ' .. run.v .. ' ') end
  if not run.status then error('COXCORRUPT ' .. run.key .. ' it has no status') end
  if run.status == 'stopping' or FINAL[run.status] then
    fetch(run, STOP_TEXT, STOP_NUMBERS)
  else
    for _, name in ipairs(STOP_TEXT) do run[name] = false end
    for _, name in ipairs(STOP_NUMBERS) do run[name] = 0 end
  end
  runs[id] = run
  return run
end

local function is_frozen(run)
  return run.status == 'stopping' or FINAL[run.status] or false
end

-- Tasks: one hash for each step of a run. Per task NODE:ITEM: its record, |p its policy, |d the task as planned,
-- |r the channels that it reads, |h what a human is shown, |c its child, |o its outcome, |f its last failure,
-- |x the proof of its stop. @ is when the step was made and how many tasks it has; #k names its k-th 500 tasks.

local RECORD = '^(%a+)|(%d+)|(%d+)|(%d+)|([^|]*)|([^|]*)|(%d+)|(%d+)|(%d+)|(%d+)|(%d)|(%d)|([^|]*)$'
local POLICY = '^(%a+)|([^|]*)|(%d+)|(%d+)|(%d+)|(%d+)|(%d)|(%d+)$'

local function parse_task(task, record, policy)
  local t, n = task, tonumber
  t.state, t.attempts, t.crashes, t.fence, t.nonce, t.worker, t.queued, t.renewed, t.started, t.settled, t.sent,
    t.taken, t.answer = string.match(record, RECORD)
  t.dispatch, t.pool, t.timeout, t.queue_timeout, t.grace, t.max_crashes, t.fails_run, t.length =
    string.match(policy or '', POLICY)
  if not t.state or not t.dispatch then error('COXCORRUPT ' .. t.key .. ' the task ' .. t.name .. ' is no record') end
  t.attempts, t.crashes, t.fence = n(t.attempts), n(t.crashes), n(t.fence)
  t.renewed, t.started, t.settled = n(t.renewed), n(t.started), n(t.settled)
  t.timeout, t.queue_timeout, t.grace, t.max_crashes = n(t.timeout), n(t.queue_timeout), n(t.grace), n(t.max_crashes)
  t.queued = n(t.queued)
  if t.queued == 0 then t.queued = t.made end
end

-- The task STEP:NODE:ITEM of a run, or false.
local function task_at(run, id)
  local place = run.id .. ' ' .. id
  if tasks[place] ~= nil then return tasks[place] end
  local step, name = string.match(id, '^(%d+):(.+)$')
  local key = P .. 'step:' .. run.id .. ':' .. step
  local got = redis.call('HMGET', key, name, name .. '|p', '@')
  if not got[1] then
    tasks[place] = false
    return false
  end
  local task = { id = id, key = key, name = name, place = place, step = tonumber(step), extra = {} }
  task.made = tonumber(string.match(got[3] or '', '^(%d+)|') or 0)
  parse_task(task, got[1], got[2])
  tasks[place] = task
  return task
end

local function save(task)
  task.dirty = true
end

-- Keeps a further field of a task: o, f or x.
local function attach(task, field, value)
  task.extra[#task.extra + 1] = task.name .. '|' .. field
  task.extra[#task.extra + 1] = value
  task.dirty = true
end

local function own_deadline(run, task)
  return math.min(task.made + task.timeout, run.deadline)
end

local function queue_deadline(run, task)
  return math.min(task.queued + task.queue_timeout, run.deadline)
end

local function schedule(task, due)
  redis.call('ZADD', AGENDA, due, task.place)
end

local function unschedule(task)
  redis.call('ZREM', AGENDA, task.place)
end

local function make_ready(run)
  redis.call('ZADD', READY, now, run.id)
  nudge = true
end

local function audit(id, action, actor, reason, result)
  local entry = { 'at', now, 'action', action, 'run', id, 'actor', actor, 'result', result }
  if reason then
    entry[11], entry[12] = 'reason', reason
  end
  redis.call('XADD', P .. 'audit', 'MAXLEN', '~', AUDIT_MAX, '*', unpack(entry))
end

local function flush_run(run)
  local set, del = { 'HSET', run.key }, { 'HDEL', run.key }
  for field, value in pairs(run.dirty) do
    if value == false then
      del[#del + 1] = field
    else
      set[#set + 1] = field
      set[#set + 1] = value
    end
  end
  if #set > 2 then redis.call(unpack(set)) end
  if #del > 2 then redis.call(unpack(del)) end
  run.dirty = {}
end

local function flush_task(t)
  local queued = t.queued
  if queued == t.made then queued = 0 end
  local record = table.concat({ t.state, t.attempts, t.crashes, t.fence, t.nonce, t.worker, queued, t.renewed, t.started,
    t.settled, t.sent, t.taken, t.answer }, '|')
  redis.call('HSET', t.key, t.name, record, unpack(t.extra))
  t.dirty, t.extra = false, {}
end

-- Writes back what has changed, pushes, and gives the script's answer.
local function done(answer)
  for _, task in pairs(tasks) do
    if task and task.dirty then flush_task(task) end
  end
  for _, run in pairs(runs) do
    if run and next(run.dirty) then flush_run(run) end
  end
  if nudge then redis.call('PUBLISH', CHANNEL_READY, PARTITION) end
  return answer
end
