package tenantresolve

import (
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/logging"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// hiddenByCaddy are the headers that Caddy's logs leave out, unless log_credentials
// is set.
var hiddenByCaddy = []string{headerAuthorization, "Proxy-Authorization", "Cookie"}

// accessLog is the logger of access logs that have no name of their own.
const accessLog = "http.log.access"

// warnOfLogs names the access logs of the site that would contain keys or tokens,
// and the lines that keep them out. The request is logged as the client sent it, so
// nothing that a handler does to it helps.
func (h *Handler) warnOfLogs(ctx caddy.Context) {
	srv, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok || srv.Logs == nil {
		return
	}
	for _, name := range accessLogs(srv) {
		lines := []string{"format filter {"}
		for _, header := range h.secretHeaders(srv.Logs.ShouldLogCredentials) {
			if logsHeader(ctx, name, header) {
				lines = append(lines, "\trequest>headers>"+header+" delete")
			}
		}
		if len(lines) == 1 || !h.app.FirstTime(name+strings.Join(lines, "")) {
			continue
		}
		to := "the site's log directive"
		if name == accessLog {
			to = "the global option log"
		}
		h.log.Warn("the access log shows API keys or tokens in plain text, unless these lines are added",
			zap.String("logger", name), zap.String("to", to), zap.Strings("lines", append(lines, "}")))
	}
}

// secretHeaders returns the headers in which keys and tokens come, except those that
// Caddy itself hides.
func (h *Handler) secretHeaders(logCredentials bool) []string {
	var names []string
	if h.app.HasKeys() {
		names = append(names, h.keyHeaders()...)
	}
	if s := h.jwtSource(); s != nil {
		names = append(names, s.Headers...)
	}
	for i := range names {
		names[i] = http.CanonicalHeaderKey(names[i])
	}
	slices.Sort(names)
	return slices.DeleteFunc(slices.Compact(names), func(name string) bool {
		return !logCredentials && slices.Contains(hiddenByCaddy, name)
	})
}

// accessLogs returns the loggers of the requests that the handler gets, which is
// being provisioned.
func accessLogs(srv *caddyhttp.Server) []string {
	var names []string
	if hosts := hostsOf(srv.Routes); len(hosts) > 0 {
		for _, host := range hosts {
			names = append(names, loggersOf(srv.Logs, strings.ToLower(host))...)
		}
	} else {
		if !srv.Logs.SkipUnmappedHosts {
			names = append(names, srv.Logs.DefaultLoggerName)
		}
		for _, list := range srv.Logs.LoggerNames {
			names = append(names, list...)
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	for i, name := range names {
		names[i] = strings.TrimSuffix(accessLog+"."+name, ".")
	}
	return names
}

// hostsOf returns the hosts of the route that is being provisioned: Caddy provisions
// one after the other, so it is the first without handlers. It returns nil for any
// host.
func hostsOf(routes caddyhttp.RouteList) []string {
	i := slices.IndexFunc(routes, func(r caddyhttp.Route) bool { return len(r.Handlers) == 0 && len(r.HandlersRaw) > 0 })
	if i < 0 {
		return nil
	}
	var hosts []string
	for _, set := range routes[i].MatcherSets {
		before := len(hosts)
		for _, m := range set {
			if list, ok := m.(*caddyhttp.MatchHost); ok {
				hosts = append(hosts, *list...)
			}
		}
		if len(hosts) == before {
			return nil
		}
	}
	return hosts
}

// loggersOf returns the loggers of a host's requests, as Caddy chooses them.
func loggersOf(logs *caddyhttp.ServerLogConfig, host string) []string {
	labels := strings.Split(host, ".")
	for i := 0; ; i++ {
		if names, ok := logs.LoggerNames[strings.Join(labels, ".")]; ok {
			return names
		}
		if i == len(labels) {
			break
		}
		labels[i] = "*"
	}
	if logs.SkipUnmappedHosts || slices.Contains(logs.SkipHosts, host) {
		return nil
	}
	return []string{logs.DefaultLoggerName}
}

// logsHeader reports whether what a logger logs of a request contains a header.
func logsHeader(ctx caddy.Context, logger, header string) bool {
	written := false
	value := zapcore.ArrayMarshalerFunc(func(zapcore.ArrayEncoder) error {
		written = true
		return nil
	})
	headers := zapcore.ObjectMarshalerFunc(func(enc zapcore.ObjectEncoder) error {
		// filters that rewrite the value only look at what Caddy itself logs
		if f, ok := enc.(logging.FilterEncoder); ok && f.Fields["request>headers>"+header] != nil {
			return nil
		}
		return enc.AddArray(header, value)
	})
	request := zapcore.ObjectMarshalerFunc(func(enc zapcore.ObjectEncoder) error {
		return enc.AddObject("headers", headers)
	})
	// With encodes for every log that accepts the logger, and writes nothing
	ctx.Logger(below(logger)).With(zap.Object("request", request))
	return written
}

// below names a logger below another one, as a module: Caddy gives a module also the
// logs that accept only what is below it.
type below string

func (name below) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: caddy.ModuleID(string(name) + ".request")}
}
