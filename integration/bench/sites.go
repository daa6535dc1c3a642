package main

import (
	"fmt"
	"strings"

	"github.com/caddy-chat/caddy-chat/integration/bench/load"
)

// Names in {BRACES} are replaced for each run: see fill.
const (
	options = `{
	admin {ADMIN}
	auto_https off
	persist_config off
	{CHAT}
}
`
	plainSite = options + `
http://{ADDR} {
	reverse_proxy {UPSTREAM} {
		flush_interval -1
	}
}
`
	gateway = `
	ai_gateway {
		{TENANT}
		provider openai {
			base_url http://{UPSTREAM}/v1
			api_key sk-bench
		}
		{MODELS}
	}
`
	aloneSite = options + `
http://{ADDR} {` + gateway + `}
`
	chainSite = options + `
http://{ADDR} {
	tenant_resolve
	chat_ratelimit
	chat_session` + gateway + `}
`
	// keepSite keeps sessions at one length, however many turns they have.
	keepSite = options + `
http://{ADDR} {
	tenant_resolve
	chat_ratelimit
	chat_session {
		max_messages 10
	}` + gateway + `}
`

	haproxySite = `
global
	maxconn 8000
defaults
	mode http
	option http-no-delay
	http-reuse always
	timeout connect 5s
	timeout client 1h
	timeout server 1h
frontend clients
	bind {ADDR}
	default_backend models
backend models
	server upstream {UPSTREAM}
`
	nginxSite = `
daemon off;
worker_processes auto;
worker_rlimit_nofile 20000;
pid nginx.pid;
events {
	worker_connections 16384;
}
http {
	access_log off;
	client_body_temp_path body;
	proxy_temp_path proxy;
	fastcgi_temp_path fastcgi;
	uwsgi_temp_path uwsgi;
	scgi_temp_path scgi;
	upstream models {
		server {UPSTREAM};
		keepalive 64;
		keepalive_requests 1000000000;
	}
	server {
		listen {ADDR};
		keepalive_requests 1000000000;
		location / {
			proxy_pass http://models;
			proxy_http_version 1.1;
			proxy_set_header Connection "";
			proxy_buffering off;
			proxy_read_timeout 1h;
		}
	}
}
`
)

// fill writes the values of this run into the configuration.
func (p *proxy) fill(upstream string) string {
	chat, tenant := "", "tenant none"
	if strings.Contains(p.conf, "tenant_resolve") {
		chat, tenant = chatOptions(p.store, max(1, p.tenants)), ""
	}
	var aliases strings.Builder
	for _, model := range models() {
		fmt.Fprintf(&aliases, "model %[1]s {\n\t\t\tto openai/%[1]s\n\t\t\tprice 0.15 0.60\n\t\t}\n\t\t", model)
	}
	return strings.NewReplacer(
		"{CHAT}", chat, "{TENANT}", tenant, "{MODELS}", aliases.String(),
		"{ADDR}", p.addr, "{ADMIN}", p.admin, "{UPSTREAM}", upstream,
	).Replace(p.conf)
}

// chatOptions has tenants with limits and budgets that refuse no request.
func chatOptions(store string, tenants int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "chat {\n\t\tstore %s\n", store)
	for i := range tenants {
		fmt.Fprintf(&b, "\t\ttenant "+load.TenantID+" {\n\t\t\trequests 100000000 1m\n\t\t\tbudget 1000000000000 tokens/month\n\t\t}\n", i)
	}
	b.WriteString("\t}")
	return b.String()
}
