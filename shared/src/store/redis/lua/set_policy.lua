-- set_policy.lua: sets or removes a policy of the operators.
-- Reads and writes: policies, a hash of policies as JSON by name; audit.
-- ARGV: name, the policy as JSON or empty to remove it, actor, reason or empty, how many policies there may be, the name
--   of the trail, the action.
-- Returns: set | unchanged | removed | not_found | too_many.

local name, policy, actor, reason, max, trail, action = unpack(ARGV)
local POLICIES = P .. 'policies'
local before = redis.call('HGET', POLICIES, name)

local answer
if policy == '' then
  answer = redis.call('HDEL', POLICIES, name) == 1 and 'removed' or 'not_found'
elseif before == policy then
  answer = 'unchanged'
elseif not before and redis.call('HLEN', POLICIES) >= tonumber(max) then
  answer = 'too_many'
else
  redis.call('HSET', POLICIES, name, policy)
  answer = 'set'
end
audit(trail, action, actor, reason ~= '' and reason, name .. ': ' .. answer)
return done({ answer })
