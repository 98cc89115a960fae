#include "server/security/peer_names.h"

#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <memory>

namespace kvpareto::server::security {
namespace {

std::string Text(const ASN1_STRING* value) {
  return std::string(reinterpret_cast<const char*>(ASN1_STRING_get0_data(value)),
                     static_cast<size_t>(ASN1_STRING_length(value)));
}

void AddAlternativeNames(const X509* certificate, std::vector<std::string>* names) {
  void* extension = X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr);
  const std::unique_ptr<GENERAL_NAMES, decltype(&GENERAL_NAMES_free)> list(
      static_cast<GENERAL_NAMES*>(extension), GENERAL_NAMES_free);
  for (int i = 0; list != nullptr && i < sk_GENERAL_NAME_num(list.get()); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(list.get(), i);
    if (name->type == GEN_DNS || name->type == GEN_URI || name->type == GEN_EMAIL) {
      names->push_back(Text(name->d.ia5));
    }
  }
}

void AddCommonName(const X509* certificate, std::vector<std::string>* names) {
  X509_NAME* subject = X509_get_subject_name(certificate);
  const int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
  if (at < 0) return;
  names->push_back(Text(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at))));
}

}  // namespace

std::vector<std::string> NamesOfPeer(SSL* connection) {
  const std::unique_ptr<X509, decltype(&X509_free)> certificate(
      SSL_get1_peer_certificate(connection), X509_free);
  std::vector<std::string> names;
  if (certificate == nullptr || SSL_get_verify_result(connection) != X509_V_OK) return names;
  AddAlternativeNames(certificate.get(), &names);
  AddCommonName(certificate.get(), &names);
  return names;
}

}  // namespace kvpareto::server::security
