-- Begins a generation in a partition: what was announced in the one before is forgotten. Repeated, it changes nothing.
--
-- KEYS: marks
-- ARGV: generation
-- Answers {1, the run of the store or ''}, or {0, the newer generation that is here}.
local marksKey, generation = KEYS[1], ARGV[1]
local known = redis.call('HGET', marksKey, 'generation')
if known and tonumber(known) > tonumber(generation) then return {0, known} end
if known ~= generation then
  redis.call('DEL', marksKey)
  redis.call('HSET', marksKey, 'generation', generation)
end
local info = redis.pcall('INFO', 'server')
return {1, type(info) == 'string' and string.match(info, 'run_id:(%x+)') or ''}
