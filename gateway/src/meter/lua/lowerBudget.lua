-- Lowers a partition's budget to what it is to keep, never below what it has given, and never raises it. A budget that was
-- given under an older choice of the merchant is taken over by this one.
--
-- KEYS: exposure
-- ARGV: token:payee, version of the merchant's choice, what to keep
-- Answers used, budget, wanted (until now), version, policy, counted; or 0 when a newer choice has been here.
local exposureKey, field = KEYS[1], ARGV[1]
local policy, target = tonumber(ARGV[2]), tonumber(ARGV[3])

local function text(number) return string.format('%.0f', number) end

local e = redis.call('HMGET', exposureKey, 'used:' .. field, 'budget:' .. field, 'wanted:' .. field, 'version:' .. field,
  'policy:' .. field, 'counted:' .. field)
if tonumber(e[5] or 0) > policy then return 0 end
local used = tonumber(e[1] or 0)
-- A partition that does not know all its debts gives nothing more.
if e[6] ~= '1' then target = 0 end
local budget = text(math.min(tonumber(e[2] or 0), math.max(used, target)))
local version = text(tonumber(e[4] or 0) + 1)
redis.call('HSET', exposureKey, 'budget:' .. field, budget, 'version:' .. field, version, 'policy:' .. field, text(policy))
redis.call('HDEL', exposureKey, 'wanted:' .. field)
return {text(used), budget, e[3] or '0', version, text(policy), e[6] or '0'}
