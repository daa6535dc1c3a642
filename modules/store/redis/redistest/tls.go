package redistest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Certificates are those of an authority of the test's own, as files in PEM: its own, and
// one for a server and for clients.
type Certificates struct {
	CA, Cert, Key string

	host      string // of the server
	authority *x509.Certificate
	key       *ecdsa.PrivateKey // of the authority
}

// NewCertificates makes some, for servers at 127.0.0.1.
func NewCertificates(t testing.TB) *Certificates {
	t.Helper()
	c := &Certificates{CA: filepath.Join(t.TempDir(), "ca.pem")}
	c.newAuthority(t)
	return c.For(t, "127.0.0.1")
}

// For returns those of the same authority with a certificate for a server at a host.
func (c *Certificates) For(t testing.TB, host string) *Certificates {
	t.Helper()
	dir := t.TempDir()
	own := *c
	own.Cert, own.Key, own.host = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), host
	own.issue(t)
	return &own
}

// Renew writes the files again, with another authority.
func (c *Certificates) Renew(t testing.TB) {
	t.Helper()
	c.newAuthority(t)
	c.issue(t)
}

func (c *Certificates) newAuthority(t testing.TB) {
	t.Helper()
	c.key = newKey(t)
	ca := template("test authority")
	ca.IsCA, ca.BasicConstraintsValid, ca.KeyUsage = true, true, x509.KeyUsageCertSign
	der := sign(t, ca, ca, &c.key.PublicKey, c.key)
	write(t, c.CA, "CERTIFICATE", der)
	var err error
	if c.authority, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
}

func (c *Certificates) issue(t testing.TB) {
	t.Helper()
	leaf := template("redis")
	leaf.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	if ip := net.ParseIP(c.host); ip != nil {
		leaf.IPAddresses = []net.IP{ip}
	} else {
		leaf.DNSNames = []string{c.host}
	}
	key := newKey(t)
	write(t, c.Cert, "CERTIFICATE", sign(t, leaf, c.authority, &key.PublicKey, c.key))
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, c.Key, "EC PRIVATE KEY", der)
}

// client returns the configuration of a client of the server; nil for one without TLS.
func (c *Certificates) client(t testing.TB) *tls.Config {
	t.Helper()
	if c == nil {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool(), Certificates: []tls.Certificate{pair}, ServerName: c.host}
	config.RootCAs.AddCert(c.authority)
	return config
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func template(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
}

func sign(t testing.TB, cert, by *x509.Certificate, key *ecdsa.PublicKey, with *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, cert, by, key, with)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func write(t testing.TB, file, typ string, der []byte) {
	t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: typ, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Query returns the parameters of a URL that name the files.
func (c *Certificates) Query() string { return "ca=" + c.CA + "&cert=" + c.Cert + "&key=" + c.Key }

// args are those of a server that speaks nothing but TLS, to clients with a certificate.
func (c *Certificates) args(port string) []string {
	return []string{
		"--port", "0", "--tls-port", port, "--tls-ca-cert-file", c.CA, "--tls-cert-file", c.Cert, "--tls-key-file", c.Key,
		"--tls-auth-clients", "yes", "--tls-replication", "yes",
	}
}

// StartTLS starts a server that wants TLS and a client's certificate.
func StartTLS(t testing.TB, c *Certificates, args ...string) *Server {
	t.Helper()
	port := freePort(t)
	return start(t, &Server{Addr: "127.0.0.1:" + port, tls: c}, append(c.args(port), args...))
}
