-- scope.lua: the second part of the prelude, before life.lua: what stops single tasks of a run, and gives turns in groups.
-- |s of a task is its own order: when it was given, its grace in ms or '', when it was forced, is it skipped, how long the
-- end of the outcome is, that end, and the order as JSON. &N of a step is its N-th group: node, first item, the item
-- after its last, the item from which the next pending one is looked for, how many successes are needed, how many
-- failures are allowed (or '').

local give_order, admit_child

-- Orders to tasks: { cause, grace, force, actor, reason, json } as those to runs, and is_skip, ending: what the outcome has
-- beside its kind.

local function keep_order(task, order)
  task.order = { at = now, grace = order.grace, forced = 0, is_skip = order.is_skip, ending = order.ending,
    json = string.sub(order.json, 1, -2) .. ',"at":' .. now .. '}', is_forced = order.force == '1' }
end

local function write_order(task)
  local order = task.order
  local text = table.concat({ order.at, order.grace, order.forced, order.is_skip and '1' or '0', #order.ending,
    order.ending .. order.json }, '|')
  attach(task, 's', text)
end

-- The order to a task, or false.
local function order_of(task)
  if task.order ~= nil then return task.order end
  task.order = false
  local text = redis.call('HGET', task.key, task.name .. '|s')
  if text then
    local at, grace, forced, skip, length, rest = string.match(text, '^(%d+)|(%d*)|(%d+)|(%d)|(%d+)|(.*)$')
    if not at then error('COXCORRUPT ' .. task.key .. ' the order to the task ' .. task.name .. ' is no record') end
    task.order = { at = tonumber(at), grace = grace, forced = tonumber(forced), is_skip = skip == '1',
      ending = string.sub(rest, 1, length), json = string.sub(rest, length + 1) }
    task.order.is_forced = string.find(task.order.json, '"force":true', 1, true) ~= nil
  end
  return task.order
end

-- The report of such an order, as JSON.
local function report_of(order, leases)
  local text = '{"order":' .. order.json
  if order.forced > 0 then text = text .. ',"forced_at":' .. order.forced end
  return text .. ',"leases":' .. leases .. ',"released":0,"unconfirmed":0}'
end

-- Settles a task that is under an order of its own; `outcome` lacks what the order adds. True if that completed the step.
local function settle_stopped(run, task, outcome)
  local order, failure = order_of(task), false
  task.is_skipped = order.is_skip
  if not order.is_skip then
    local why = cjson.decode('{"kind":"stopped"' .. order.ending .. '}').why
    local message = 'it was stopped ' .. (why or 'alone')
    local node = string.match(task.name, '^[^:]+')
    failure = { json = cjson.encode({ kind = 'stopped', message = message, node = node }), message = message }
  end
  return settle_task(run, task, string.sub(outcome, 1, -2) .. order.ending .. '}', failure)
end

-- A child run that stands for the task gets the order; it ends at once if nothing of it is open.
local function halt_child(task, order)
  local id = string.match(redis.call('HGET', task.key, task.name .. '|c') or '', '^[^\n]+')
  local child = id and run_at(id)
  if not child then return 'already' end
  if not order_of(task) then
    keep_order(task, order)
    write_order(task)
  end
  local result = give_order(child, order, now)
  if task.state == 'settled' then return 'settled' end
  return (result == 'accepted' or result == 'forced') and 'stopping' or 'already'
end

-- Stops one task of a run that is not frozen: settled | stopping | already, or false where there is nothing to stop.
local function halt(run, task, order)
  local state = task.state
  if state == 'settled' or state == 'human' then return false end
  if state == 'child' then return halt_child(task, order) end
  if state == 'stopping' then
    local first = order_of(task)
    if order.force ~= '1' or first.is_forced or first.forced > 0 then return 'already' end
    first.forced = now
    write_order(task)
    return 'stopping'
  end
  keep_order(task, order)
  if state == 'leased' then
    write_order(task)
    task.state = 'stopping'
    return 'stopping'
  end
  settle_stopped(run, task, WORDS.stopped)
  return 'settled'
end

local PUSHED_AT_ONCE = 1000

-- Stops these tasks, in their order, and tells the workers that have them. Once that has stopped the run itself, the rest
-- is under the run's order. Returns how many were settled, are stopping, and were under an order already.
local function halt_all(run, ids, order)
  local counts, told, report = { settled = 0, stopping = 0, already = 0 }, {}, false
  for _, id in ipairs(ids) do
    if is_frozen(run) then break end
    local task = task_at(run, id)
    local result = task and halt(run, task, order)
    if result then counts[result] = counts[result] + 1 end
    if result == 'stopping' and task.state == 'stopping' then
      told[#told + 1] = task.id
      report = report or report_of(task.order, 1)
    end
  end
  for first = 1, #told, PUSHED_AT_ONCE do
    local some = table.concat(told, ',', first, math.min(first + PUSHED_AT_ONCE - 1, #told))
    redis.call('PUBLISH', CHANNEL_STOP, run.id .. ' ' .. run.created .. ' ' .. some .. ' ' .. report)
  end
  return counts.settled, counts.stopping, counts.already
end

-- Groups.

-- Lets a task in: its time begins now. True if it goes on, and is not settled at once.
local function admit(run, task)
  if task.dispatch == 'pendingchild' then return admit_child(run, task) end
  task.state, task.queued, task.admitted = 'queued', now, now
  attach(task, 'a', now)
  schedule(task, now)
  due_nudge = true
  return true
end

-- The groups that were read, by their place; false once decided.
local open_groups = {}

-- The group of a task, if it is not decided yet.
local function group_of(task)
  local place = task.key .. '&' .. task.group
  if open_groups[place] ~= nil then return open_groups[place] end
  open_groups[place] = false
  local text = redis.call('HGET', task.key, '&' .. task.group)
  if not text then return false end
  local group, n = { place = place, key = task.key, field = '&' .. task.group, step = task.step }, tonumber
  group.node, group.first, group.upto, group.following, group.need, group.may_fail =
    string.match(text, '^([^|]+)|(%d+)|(%d+)|(%d+)|(%d*)|(%d*)$')
  if not group.node then error('COXCORRUPT ' .. task.key .. ' the group ' .. task.group .. ' is no record') end
  group.first, group.upto, group.following = n(group.first), n(group.upto), n(group.following)
  open_groups[place] = group
  return group
end

local function write_group(group)
  redis.call('HSET', group.key, group.field, table.concat({ group.node, group.first, group.upto, group.following,
    group.need, group.may_fail }, '|'))
end

local function close_group(run, group, cause, why)
  open_groups[group.place] = false
  redis.call('HDEL', group.key, group.field)
  local actor = 'node ' .. group.node
  local json = cjson.encode({ cause = cause, actor = actor, reason = why, force = false })
  local ids = {}
  for item = group.first, group.upto - 1 do ids[#ids + 1] = group.step .. ':' .. group.node .. ':' .. item end
  halt_all(run, ids, { cause = cause, grace = '', force = '0', actor = actor, reason = why, json = json, is_skip = true,
    ending = ',"skipped":true,"why":' .. cjson.encode(WORDS.by_group .. why) })
end

-- Lets in the next task of a group. One that is settled at once may decide the group, or stop the run.
local function admit_next(run, group)
  while open_groups[group.place] and not is_frozen(run) and group.following < group.upto do
    local other = task_at(run, group.step .. ':' .. group.node .. ':' .. group.following)
    group.following = group.following + 1
    if other and other.state == 'pending' and admit(run, other) then break end
  end
  if open_groups[group.place] then write_group(group) end
end

-- A task of a group has settled: the next gets its turn, unless that decides the group.
local function settled_in_group(run, task, failure, was_pending)
  local group, n = group_of(task), tonumber
  if not group then return end
  if failure and group.may_fail ~= '' then
    group.may_fail = n(group.may_fail) - 1
    if group.may_fail < 0 then return close_group(run, group, 'sibling_failed', WORDS.too_many_failed) end
  elseif not failure and not task.is_skipped and group.need ~= '' then
    group.need = n(group.need) - 1
    if group.need == 0 then return close_group(run, group, 'superseded', WORDS.enough) end
  end
  -- Who lets the tasks in goes on by itself after one that is settled at once.
  if was_pending then write_group(group) else admit_next(run, group) end
end
