// Package caddychat plugs the chat gateway's modules into Caddy. It only
// imports them: build it into a Caddy binary with xcaddy, or see
// xcaddy-build.
package caddychat

import (
	// the handlers, the app they stand on, and the command caddy chat-health
	_ "github.com/caddy-chat/caddy-chat/modules/aigateway"
	_ "github.com/caddy-chat/caddy-chat/modules/chat"
	_ "github.com/caddy-chat/caddy-chat/modules/chathealth"
	_ "github.com/caddy-chat/caddy-chat/modules/chatratelimit"
	_ "github.com/caddy-chat/caddy-chat/modules/chatsession"
	// providers and stores
	_ "github.com/caddy-chat/caddy-chat/modules/provider/anthropic"
	_ "github.com/caddy-chat/caddy-chat/modules/provider/bedrock"
	_ "github.com/caddy-chat/caddy-chat/modules/provider/cloudflare"
	_ "github.com/caddy-chat/caddy-chat/modules/provider/echo"
	_ "github.com/caddy-chat/caddy-chat/modules/provider/gemini"
	_ "github.com/caddy-chat/caddy-chat/modules/provider/ollama"
	_ "github.com/caddy-chat/caddy-chat/modules/provider/openai"
	_ "github.com/caddy-chat/caddy-chat/modules/store/badger"
	_ "github.com/caddy-chat/caddy-chat/modules/store/redis"
	_ "github.com/caddy-chat/caddy-chat/modules/tenantresolve"
)
