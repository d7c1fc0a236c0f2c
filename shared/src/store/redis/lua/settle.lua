-- settle.lua: writes how an attempt ended.
-- Reads and writes: the run, the task, its group and the next task of it, the agenda, the ready set; by a bad outcome what
-- stop writes.
-- ARGV: run id, task id, fence, what was spent (see life.lua), then done OUTCOME is-bad FAILURE MESSAGE | retry FAILURE AFTER-ms
--   | putoff FAILURE AFTER-ms: as retry, but it was no try.
-- Returns: accepted is-step-complete | stale | frozen.

local run = run_at(ARGV[1], { 'status', 'prio', 'step', 'open', 'leases' }, 2)
local task = run and task_at(run, ARGV[2])
if not task then return done({ 'stale' }) end

local fence = ARGV[3]
local did, complete = string.match(task.answer, '^settle:(%d+):(%d)$')
if not has_lease(task) and did == fence then return done({ 'accepted', complete }) end
if not has_lease(task) or task.fence ~= tonumber(fence) then return done({ 'stale' }) end
if is_frozen(run) or task.state == 'stopping' then return done({ 'frozen' }) end

local function note_spent()
  if ARGV[4] ~= '' then life().spend(run, task, ARGV[4]) end
end

if ARGV[5] ~= 'done' then
  put(run, 'leases', run.leases - 1)
  task.state, task.answer = 'delayed', 'settle:' .. fence .. ':0'
  if ARGV[5] == 'putoff' then task.attempts = task.attempts - 1 end
  attach(task, 'b', '')
  attach(task, 'f', ARGV[6])
  schedule(task, math.min(now + tonumber(ARGV[7]), own_deadline(run, task)))
  note_spent()
  return done({ 'accepted', '0' })
end

local failure = ARGV[7] == '1' and { json = ARGV[8], message = ARGV[9] }
local is_complete = settle_task(run, task, ARGV[6], failure)
note_spent()
is_complete = is_complete and not is_frozen(run) and '1' or '0'
task.answer = 'settle:' .. fence .. ':' .. is_complete
return done({ 'accepted', is_complete })
