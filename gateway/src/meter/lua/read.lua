-- A grant and its account, at one moment.
--
-- KEYS: grant, account
return {redis.call('HGETALL', KEYS[1]), redis.call('HGETALL', KEYS[2])}
