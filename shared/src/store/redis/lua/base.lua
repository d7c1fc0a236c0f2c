-- base.lua: the first part of the prelude, put before every script of a partition, after the constants.
-- KEYS[1] is the partition's prefix, such as cox:{3}: ; all keys are built from it, so that a script stays in one slot.
-- Offers: runs and tasks that are read once and written back by `done`, the agenda, the audit trail.
-- Errors that the adapter knows: COXFORMAT key format, COXCORRUPT key why.

local P = KEYS[1]
local PARTITION = string.match(P, '{(%d+)}')

local AGENDA, READY, DEADLINES = P .. 'agenda', P .. 'ready', P .. 'deadlines'
local FORGET, LIVE, INDEX = P .. 'forget', P .. 'live', P .. 'idx'

local runs, tasks, nudge, due_nudge = {}, {}, false, false
local FINAL = { succeeded = true, failed = true, timed_out = true, cancelled = true }

-- The rules of life.lua, made at their first use: most calls need none of them.
local make_life, made_life

local function life()
  made_life = made_life or make_life()
  return made_life
end

-- Runs: `run.field` reads, `put(run, field, value)` writes; absent text is false, an absent number 0. A script names the
-- fields that it needs in any case; the others are read, all at once, when one of them is first asked for.

local function run_fields()
  return { 'status', 'thread', 'from', 'base', 'parent', 'takeback', 'nonce', 'rnonce', 'resumed', 'ckpt', 'order',
    'cause', 'grace', 'force', 'budget', 'spent', 'prio', 'step', 'rev', 'created', 'started', 'deadline', 'timeout', 'open',
    'leases', 'kids', 'humans', 'fence', 'ordered', 'forced', 'sleases', 'released', 'unconfirmed', 'closed',
    'kin' }, 17
end

local function put(run, field, value)
  run[field] = value
  run.dirty[field] = value
end

-- Reads fields of a run, first so many texts, then numbers; what the script has put meanwhile stays.
local function fetch(run, fields, texts)
  local got = redis.call('HMGET', run.key, 'v', unpack(fields))
  for i, field in ipairs(fields) do
    if rawget(run, field) == nil then
      local value = got[i + 1]
      if i > texts then value = tonumber(value or 0) end
      run[field] = value
    end
  end
  return got[1]
end

local function fetch_rest(run, field)
  setmetatable(run, nil)
  fetch(run, run_fields())
  return run[field]
end

-- A run, or false. With `fields`, of which the first `texts` are texts, only these are read at once.
local function run_at(id, fields, texts)
  if runs[id] ~= nil then return runs[id] end
  local run = { id = id, key = P .. 'run:' .. id, dirty = {} }
  local format
  if fields then
    format = fetch(run, fields, texts)
    setmetatable(run, { __index = fetch_rest })
  else
    format = fetch(run, run_fields())
  end
  if not format then
    runs[id] = false
    return false
  end
  if format ~= FORMAT then error('COXFORMAT ' .. run.key .. ' ' .. format .. ' ') end
  if not run.status then error('COXCORRUPT ' .. run.key .. ' it has no status') end
  runs[id] = run
  return run
end

local function is_frozen(run)
  return run.status == 'stopping' or FINAL[run.status] or false
end

-- Tasks: one hash for each step of a run. Per task NODE:ITEM: its record, |p its policy, |d the task as planned,
-- |r the channels that it reads, |h what a human is shown, |c its child, |o its outcome, |f its last failure,
-- |x the proof of its stop, |b how often it was handed back in a row and whether without an order the last time,
-- |s its own stop order (see scope.lua), |a when it got its turn, |m the fence of a lease and what its attempt has
-- spent so far, as far as renewals have told it. A record ends with: crashes that do not count, whether the lease is
-- alone (0 no, 1 it was claimed so, 2 and was renewed since), the lease of the last crash that counts, and the answer
-- to the last settle or release. &N is a group of tasks. @ is when the step was made
-- and how many tasks it has; #k names its k-th 500 tasks.

local RECORD = '^(%a+)|(%d+)|(%d+)|(%d+)|([^|]*)|([^|]*)|(%d+)|(%d+)|(%d+)|(%d+)|(%d)|(%d)|(%d+)|(%d)|(%d+)|([^|]*)$'
local POLICY = '^(%a+)|([^|]*)|(%d+)|(%d+)|(%d+)|(%d+)|(%d)|(%d+)|?(%d*)$'

local function corrupt(task)
  error('COXCORRUPT ' .. task.key .. ' the task ' .. task.name .. ' is no record')
end

local function parse_record(task, record)
  local t, n = task, tonumber
  t.state, t.attempts, t.crashes, t.fence, t.nonce, t.worker, t.queued, t.renewed, t.started, t.settled, t.sent,
    t.taken, t.beside, t.alone, t.blamed, t.answer = string.match(record, RECORD)
  if not t.state then corrupt(t) end
  t.attempts, t.crashes, t.fence = n(t.attempts), n(t.crashes), n(t.fence)
  t.renewed, t.started, t.settled, t.queued = n(t.renewed), n(t.started), n(t.settled), n(t.queued)
  t.beside, t.blamed = n(t.beside), n(t.blamed)
  if t.queued == 0 then t.queued = t.made end
end

-- A task's policy is taken apart when one of its fields is first asked for.
local function parse_policy(task, field)
  local t, n = task, tonumber
  setmetatable(t, nil)
  t.dispatch, t.lane, t.timeout, t.queue_timeout, t.grace, t.max_crashes, t.fails_run, t.length, t.group =
    string.match(t.policy, POLICY)
  if not t.dispatch then corrupt(t) end
  t.timeout, t.queue_timeout, t.grace, t.max_crashes = n(t.timeout), n(t.queue_timeout), n(t.grace), n(t.max_crashes)
  return t[field]
end

-- The task STEP:NODE:ITEM of a run, or false; task.more are the values of these further fields (|d, |r).
local function task_at(run, id, ...)
  local place = run.id .. ' ' .. id
  if tasks[place] ~= nil then return tasks[place] end
  local step, name = string.match(id, '^(%d+):(.+)$')
  local key = P .. 'step:' .. run.id .. ':' .. step
  local more = { ... }
  for i, field in ipairs(more) do more[i] = name .. field end
  local got = redis.call('HMGET', key, name, name .. '|p', '@', unpack(more))
  if not got[1] then
    tasks[place] = false
    return false
  end
  local task = { id = id, key = key, name = name, place = place, step = tonumber(step), extra = {}, more = more }
  for i in ipairs(more) do more[i] = got[i + 3] end
  task.made, task.policy = tonumber(string.match(got[3] or '', '^(%d+)|') or 0), got[2] or ''
  parse_record(task, got[1])
  setmetatable(task, { __index = parse_policy })
  tasks[place] = task
  return task
end

local function save(task)
  task.dirty = true
end

local function has_lease(task)
  return task.state == 'leased' or task.state == 'stopping'
end

-- Keeps a further field of a task: o, f, x, b, s, a or m.
local function attach(task, field, value)
  task.extra[#task.extra + 1] = task.name .. '|' .. field
  task.extra[#task.extra + 1] = value
  task.dirty = true
end

-- When the time of a task began: one that waited for its turn began when it got it.
local function begun_at(task)
  if task.dispatch ~= 'pending' then return task.made end
  if not task.admitted then
    task.admitted = tonumber(redis.call('HGET', task.key, task.name .. '|a') or task.made)
  end
  return task.admitted
end

local function own_deadline(run, task)
  return math.min(begun_at(task) + task.timeout, run.deadline)
end

local function queue_deadline(run, task)
  return math.min(task.queued + task.queue_timeout, run.deadline)
end

-- If a queued task's time is up, settles it and names the limit.
local function time_out(run, task)
  local own, queue = own_deadline(run, task), queue_deadline(run, task)
  if now < own and now < queue then return false end
  local limit = own <= queue and 'timeout' or 'queue_timeout'
  if limit == 'queue_timeout' then redis.call('HINCRBY', P .. 'ends', 'task|queue_timeout', 1) end
  life().settle_as(run, task, limit)
  return limit
end

local function schedule(task, due)
  redis.call('ZADD', AGENDA, due, task.place)
end

local function unschedule(task)
  redis.call('ZREM', AGENDA, task.place)
end

local function make_ready(run)
  redis.call('ZADD', READY, now - HEAD_START[run.prio or 'normal'], run.id)
  nudge = true
end

local function audit(id, action, actor, reason, result)
  local entry = { 'at', now, 'action', action, 'run', id, 'actor', actor, 'result', result }
  if reason then
    entry[11], entry[12] = 'reason', reason
  end
  redis.call('XADD', P .. 'audit', 'MAXLEN', '~', AUDIT_MAX, '*', unpack(entry))
end

local function record_settled(task, outcome)
  task.state, task.settled = 'settled', now
  attach(task, 'o', outcome)
end

-- Settles a task of a run that is not frozen, with the consequence. `failure` = { json, message } of a bad outcome.
-- True if that completed the step.
local function settle_task(run, task, outcome, failure)
  local was_pending = task.state == 'pending'
  if has_lease(task) then put(run, 'leases', run.leases - 1) end
  if task.state == 'child' then put(run, 'kids', run.kids - 1) else unschedule(task) end
  record_settled(task, outcome)
  put(run, 'open', run.open - 1)
  if run.open == 0 then
    make_ready(run)
    return true
  end
  if failure and task.fails_run == '1' then
    life().fail_siblings(run, task, failure)
    return false
  end
  if task.group ~= '' then life().settled_in_group(run, task, failure, was_pending) end
  return run.open == 0 and not is_frozen(run)
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
    t.settled, t.sent, t.taken, t.beside, t.alone, t.blamed, t.answer }, '|')
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
  if due_nudge then redis.call('PUBLISH', CHANNEL_READY, PARTITION .. ' due') end
  return answer
end
