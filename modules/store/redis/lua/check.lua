-- Says whether the store can work here. ARGV: where nodes are told to cancel turns, and
-- the commands of all scripts. Returns 'old' if the server is too old, the first
-- command that the user may not run, or nothing.
if not redis.acl_check_cmd then return 'old' end
local key = root .. 'check'
for i = 3, #ARGV do
  if not redis.acl_check_cmd(ARGV[i], key) then return ARGV[i] end
end
if not redis.acl_check_cmd('SUBSCRIBE', ARGV[2]) then return 'SUBSCRIBE' end
redis.call('SET', key, '', 'PX', '1000') -- which a replica or a full server refuses
return ''
