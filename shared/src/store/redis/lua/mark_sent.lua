-- mark_sent.lua: notes that messages about queued tasks are confirmed, and puts off when they are sent again.
-- Reads: the runs and tasks. Writes: the tasks and the agenda.
-- ARGV: resend after so many ms, then run id, task id, …
-- Returns: 1.

local resend_after = tonumber(ARGV[1])
for i = 2, #ARGV, 2 do
  -- Most have been claimed meanwhile, which their records alone tell.
  local step, name = string.match(ARGV[i + 1], '^(%d+):(.+)$')
  local record = redis.call('HGET', P .. 'step:' .. ARGV[i] .. ':' .. step, name)
  local run = record and string.sub(record, 1, 7) == 'queued|'
    and run_at(ARGV[i], { 'status', 'step', 'deadline' }, 1)
  local task = run and not is_frozen(run) and task_at(run, ARGV[i + 1])
  if task and task.state == 'queued' and task.step == run.step then
    task.sent = '1'
    save(task)
    schedule(task, math.min(now + resend_after, own_deadline(run, task), queue_deadline(run, task)))
  end
end
return done(1)
