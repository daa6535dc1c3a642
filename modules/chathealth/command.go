// Package chathealth adds the command caddy chat-health, for containers and service
// managers that know a server's health by the exit code of a command.
package chathealth

import (
	"cmp"
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
)

const (
	// variable is the environment variable with the URL.
	variable = "CHAT_HEALTH_URL"

	defaultURL = "http://localhost/health"

	// timeout is for the whole request.
	timeout = 5 * time.Second
)

func init() {
	flags := flag.NewFlagSet("chat-health", flag.ExitOnError)
	flags.String("url", "", "The URL of ai_gateway's health_path (default $"+variable+", else "+defaultURL+")")
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "chat-health",
		Usage: "[--url <url>]",
		Short: "Asks whether the chat gateway on this machine serves",
		Long: `
Requests the health_path of an ai_gateway on this machine and exits with 0 if the
answer is 200, else with 1. A gateway whose status is degraded still serves.

The request goes to this machine whatever the URL's host is, so that the command
needs no DNS and asks no other machine behind the name. The certificate is not
checked for the same reason.`,
		Flags: flags,
		Func: func(fl caddycmd.Flags) (int, error) {
			target := cmp.Or(fl.String("url"), os.Getenv(variable), defaultURL)
			if err := check(context.Background(), target); err != nil {
				return caddy.ExitCodeFailedStartup, err
			}
			return caddy.ExitCodeSuccess, nil
		},
	})
}

// check returns why the gateway does not serve.
func check(ctx context.Context, target string) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return fmt.Errorf("making the request: %w", err)
	}
	client := &http.Client{
		Transport: &http.Transport{
			DialContext: dialHere,
			// The connection does not leave this machine, whose certificate may be for
			// a public name or not be there yet.
			TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // see above
			DisableKeepAlives: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("asking for the health: %w", err)
	}
	defer resp.Body.Close()
	if place := resp.Header.Get("Location"); place != "" {
		return fmt.Errorf("%s redirects to %s: want that URL in --url or %s", target, place, variable)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s: want 200", target, resp.Status)
	}
	return nil
}

// dialHere connects to a port of this machine. It needs no hosts file, which an image
// may lack.
func dialHere(ctx context.Context, network, addr string) (conn net.Conn, err error) {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	for _, host := range []string{"127.0.0.1", "::1"} {
		if conn, err = new(net.Dialer).DialContext(ctx, network, net.JoinHostPort(host, port)); err == nil {
			return conn, nil
		}
	}
	return nil, err
}
