-- renew.lua: renews leases of one partition.
-- Reads: the runs and tasks. Writes: the tasks and the agenda; by what was spent, the runs, and what stop writes.
-- ARGV: run id, task id, fence, ttl in ms, what its attempt has spent (see life.lua), … of each lease.
-- Returns: for each, in order: held | lost | the report as JSON, of the run's order or the task's own.

-- The worker of a lease that ran out lives: what was counted as its crash was none.
local function absolve(task, fence)
  if task.blamed ~= fence or fence == 0 or task.state == 'settled' then return end
  task.crashes, task.beside, task.blamed = task.crashes - 1, task.beside + 1, 0
  save(task)
end

local function renew(run, task, fence, ttl, amounts)
  if not task then return 'lost' end
  if not has_lease(task) or task.fence ~= fence then
    absolve(task, fence)
    return 'lost'
  end
  local answer = 'held'
  if run.status == 'stopping' then
    local grace = run.grace and tonumber(run.grace) or task.grace
    if now >= run.ordered + grace + ttl then return 'lost' end
    answer = life().report(run)
  elseif task.state == 'stopping' then
    local order = life().order_of(task)
    if now >= order.at + (tonumber(order.grace) or task.grace) + ttl then return 'lost' end
    answer = life().report_of(order, 1)
  elseif now >= own_deadline(run, task) + task.grace + ttl then
    return 'lost'
  end
  task.renewed = now
  if task.alone == '1' then task.alone = '2' end
  save(task)
  schedule(task, now + ttl)
  if amounts ~= '' then
    life().spend(run, task, amounts, true)
    if run.status == 'stopping' then answer = life().report(run) end
  end
  return answer
end

local answers = {}
for i = 1, #ARGV, 5 do
  local run = run_at(ARGV[i], { 'status', 'step', 'deadline' }, 1)
  local task = run and task_at(run, ARGV[i + 1])
  answers[#answers + 1] = renew(run, task, tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3]), ARGV[i + 4])
end
return done(answers)
