-- Has a grant refused from now on, until its account is mirrored again.
--
-- KEYS: grant
-- Answers 1, or 0 when the grant is not known here.
local status = redis.call('HGET', KEYS[1], 'status')
if not status then return 0 end
if status == 'active' then redis.call('HSET', KEYS[1], 'status', 'frozen') end
return 1
