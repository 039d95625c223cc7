-- What a partition may give on credit to one payee, and what it has given.
--
-- KEYS: exposure
-- ARGV: token:payee
-- Answers used, budget, wanted, version, policy, counted.
local field = ARGV[1]
return redis.call('HMGET', KEYS[1], 'used:' .. field, 'budget:' .. field, 'wanted:' .. field, 'version:' .. field,
  'policy:' .. field, 'counted:' .. field)
