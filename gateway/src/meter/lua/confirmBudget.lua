-- Says that a partition counts every account that owes the payee, if nothing has changed its budget since it was read: a
-- store that was lost meanwhile knows no version.
--
-- KEYS: exposure
-- ARGV: token:payee, version that was read
-- Answers 1 or 0.
local exposureKey, field, version = KEYS[1], ARGV[1], ARGV[2]

if redis.call('HGET', exposureKey, 'version:' .. field) ~= version then return 0 end
redis.call('HSET', exposureKey, 'counted:' .. field, '1', 'version:' .. field,
  string.format('%.0f', tonumber(version) + 1))
return 1
