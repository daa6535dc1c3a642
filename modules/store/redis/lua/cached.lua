-- cachedAt returns the value under the end of a key, or nil.
local function cachedAt(ending)
  local v = redis.call('HMGET', root .. ending, 'value', 'until')
  if v[1] and now < tonumber(v[2]) then return v[1] end
end
