-- Raises a partition's budget, if nothing has changed it since it was read.
--
-- KEYS: exposure
-- ARGV: token:payee, version that was read, new budget
-- Answers 1 or 0.
local exposureKey, field, version = KEYS[1], ARGV[1], ARGV[2]

local e = redis.call('HMGET', exposureKey, 'version:' .. field, 'budget:' .. field, 'counted:' .. field)
if e[1] ~= version or e[3] ~= '1' or tonumber(ARGV[3]) < tonumber(e[2]) then return 0 end
redis.call('HSET', exposureKey, 'budget:' .. field, ARGV[3], 'version:' .. field,
  string.format('%.0f', tonumber(version) + 1))
return 1
