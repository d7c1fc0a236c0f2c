-- release.lua: closes a lease without an outcome; the last one under a stop order ends the run.
-- Reads and writes: the run, the task, the agenda; when it ends the run, its thread or parent.
-- ARGV: run id, task id, fence, what was spent (see life.lua), and for a stop OUTCOME, PROOF, is-confirmed.
-- Returns: accepted has-run-ended | stale.

local run = run_at(ARGV[1])
local task = run and task_at(run, ARGV[2])
if not task then return done({ 'stale' }) end

local fence = ARGV[3]
local did, ended = string.match(task.answer, '^release:(%d+):(%d)$')
if did == fence then return done({ 'accepted', ended }) end
if not has_lease(task) or task.fence ~= tonumber(fence) then return done({ 'stale' }) end

if ARGV[4] ~= '' then life().spend(run, task, ARGV[4]) end

if is_frozen(run) or task.state == 'stopping' then
  local outcome, proof, is_confirmed = ARGV[5], ARGV[6], ARGV[7] == '1'
  attach(task, 'x', proof)
  if not is_frozen(run) then
    life().settle_stopped(run, task, outcome)
    task.answer = 'release:' .. fence .. ':0'
    return done({ 'accepted', '0' })
  end
  local has_ended = life().close_task(run, task, outcome, is_confirmed) and '1' or '0'
  task.answer = 'release:' .. fence .. ':' .. has_ended
  return done({ 'accepted', has_ended })
end

task.attempts, task.answer = task.attempts - 1, 'release:' .. fence .. ':0'
life().queue_again(run, task)
schedule(task, now)
return done({ 'accepted', '0' })
