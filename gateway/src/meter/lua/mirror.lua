-- Copies the chain's state of one account and token into the meter. The twin of mirrorGrant in transitions.ts.
--
-- KEYS: account, exposure, then one key for each grant
-- ARGV: JSON {token, block, funds: {allowance, reserve}, grants: [{..., channels: [{payee, authorized, charged, settled,
-- status}]}]}; amounts are decimal strings below 2^53, grants in the order of their keys.
-- Answers 1, or 0 when the mirror is older than what is known.
local accountKey, exposureKey = KEYS[1], KEYS[2]
local state = cjson.decode(ARGV[1])
local token = state.token

local function text(number) return string.format('%.0f', number) end

-- Fields of the allowance carry the token alone, as they did before there was a reserve.
local pools = {allowance = token, reserve = token .. ':reserve'}
local a = redis.call('HMGET', accountKey, 'block:' .. token, 'outstanding:' .. pools.allowance,
  'outstanding:' .. pools.reserve)
if a[1] and tonumber(state.block) < tonumber(a[1]) then return 0 end
local outstanding = {allowance = tonumber(a[2] or 0), reserve = tonumber(a[3] or 0)}

for index, mirrored in ipairs(state.grants) do
  local grantKey = KEYS[index + 2]
  local known = {}
  local stored = redis.call('HGETALL', grantKey)
  for i = 1, #stored, 2 do known[stored[i]] = stored[i + 1] end
  local before = tonumber(known.owed or 0)

  local function set(field, value)
    known[field] = value
    redis.call('HSET', grantKey, field, value)
  end
  for _, channel in ipairs(mirrored.channels) do
    local payee = channel.payee
    local authorized = tonumber(known['authorized:' .. payee] or 0)
    local charged = tonumber(known['charged:' .. payee] or 0)
    -- The journal has the newest voucher: events need not carry it any more.
    if tonumber(channel.authorized) >= authorized then redis.call('HDEL', grantKey, 'voucher:' .. payee) end
    set('authorized:' .. payee, text(math.max(authorized, tonumber(channel.authorized))))
    set('charged:' .. payee, text(math.max(charged, tonumber(channel.charged))))
    set('settled:' .. payee, channel.settled)
    set('status:' .. payee, channel.status)
  end

  redis.call('HSET', grantKey, 'limits', mirrored.limits)
  for payee, limits in pairs(mirrored.payeeLimits) do redis.call('HSET', grantKey, 'limits:' .. payee, limits) end
  for field in pairs(known) do
    local payee = string.match(field, '^limits:(.+)$')
    if payee and not mirrored.payeeLimits[payee] then redis.call('HDEL', grantKey, field) end
  end

  local owed = 0
  for field, value in pairs(known) do
    local payee = string.match(field, '^charged:(.+)$')
    if payee then
      local owedToPayee = math.max(0, tonumber(value) - tonumber(known['settled:' .. payee] or 0))
      owed = owed + owedToPayee
      local exposed = owedToPayee - tonumber(known['exposed:' .. payee] or 0)
      if mirrored.source ~= 'reserve' and exposed ~= 0 then
        redis.call('HSET', grantKey, 'exposed:' .. payee, text(owedToPayee))
        redis.call('HINCRBY', accountKey, 'exposure:' .. token .. ':' .. payee, text(exposed))
        redis.call('HINCRBY', exposureKey, 'used:' .. token .. ':' .. payee, text(exposed))
      end
    end
  end
  redis.call('HSET', grantKey, 'token', token, 'source', mirrored.source, 'owed', text(owed), 'status', mirrored.status,
    'validAfter', mirrored.validAfter, 'validUntil', mirrored.validUntil, 'totalLimit', mirrored.totalLimit,
    'periodLimit', mirrored.periodLimit, 'period', mirrored.period, 'settled', mirrored.settled,
    'periodIndex', mirrored.periodIndex, 'periodSettled', mirrored.periodSettled)
  outstanding[mirrored.source] = outstanding[mirrored.source] + owed - before
end

redis.call('HSET', accountKey, 'block:' .. token, state.block)
for source, pool in pairs(pools) do
  redis.call('HSET', accountKey, 'funds:' .. pool, state.funds[source], 'outstanding:' .. pool, text(outstanding[source]))
end
return 1
