-- shed.lua: orders a run to stop, unless any of it was ever a worker's.
-- Reads and writes: as stop.lua.
-- ARGV: run id, cause, grace or '', force 0 or 1, actor, has a reason 0 or 1, reason, the order as JSON without a time.
-- Returns: stopped | begun | frozen.

local order = { cause = ARGV[2], grace = ARGV[3], force = ARGV[4], actor = ARGV[5], json = ARGV[8] }
order.reason = ARGV[6] == '1' and ARGV[7]

local run = run_at(ARGV[1])
if not run or is_frozen(run) then return done({ 'frozen' }) end
if run.fence > 0 or run.kids > 0 or run.parent then return done({ 'begun' }) end
life().order_stop(run, order)
return done({ 'stopped' })
