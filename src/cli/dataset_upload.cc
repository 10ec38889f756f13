#include "cli/dataset_upload.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <set>

#include "base/file.h"
#include "base/text.h"
#include "cli/sha256.h"

namespace cyxwiz::cli {
namespace {

namespace fs = std::filesystem;

constexpr size_t kPieceBytes = 1 << 20;
// What was missing may go missing again, when a version with it is removed meanwhile.
constexpr int kMostRounds = 5;

Status ReadPieces(const std::string& path, const std::function<Status(std::string_view)>& take) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd) return ErrnoStatus("cannot open '" + path + "'", errno);
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0 || !S_ISREG(info.st_mode))
    return InvalidArgument("'" + path + "' is not a regular file");
  std::vector<char> buffer(kPieceBytes);
  for (;;) {
    ssize_t n = ::read(fd.get(), buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoStatus("cannot read '" + path + "'", errno);
    if (n == 0) return OkStatus();
    RETURN_IF_ERROR(take({buffer.data(), static_cast<size_t>(n)}));
  }
}

Status Changed(const std::string& path) {
  return FailedPrecondition("'" + path + "' has changed while it was read",
                            "put the data set when nobody writes to it");
}

Status Send(Client* client, const std::string& path, const spec::DatasetFile& file,
            const BytesDone& progress) {
  grpc::ClientContext context;
  protocol::SimpleResponse response;
  auto writer = client->models().UploadModel(&context, &response);
  protocol::ModelChunk chunk;
  chunk.set_model_id("sha256:" + file.sha256);
  chunk.set_dataset(true);
  chunk.set_total_size(file.size);
  int64_t sent = 0;
  bool open = true;
  auto write = [&](bool last) {
    if (last) {
      chunk.set_is_final(true);
      chunk.set_checksum(file.sha256);
    }
    open = open && writer->Write(chunk);
    chunk.clear_model_id();
    chunk.clear_dataset();
  };
  Status read = ReadPieces(path, [&](std::string_view piece) -> Status {
    if (!open) return OkStatus();  // the server says why
    if (sent + static_cast<int64_t>(piece.size()) > file.size) return Changed(path);
    chunk.set_offset(sent);
    chunk.set_data(piece.data(), piece.size());
    sent += static_cast<int64_t>(piece.size());
    write(sent == file.size);
    progress(static_cast<int64_t>(piece.size()));
    return OkStatus();
  });
  if (read.ok() && open && file.size == 0) write(/*last=*/true);
  if (read.ok() && open && sent < file.size) read = Changed(path);
  if (!read.ok()) context.TryCancel();
  writer->WritesDone();
  Status answered = FromGrpc(writer->Finish());
  RETURN_IF_ERROR(read);
  if (answered.code() == Code::kDataLoss) return Changed(path);
  if (!answered.ok())
    return Status(answered.code(), "'" + path + "' could not be sent: " + answered.message());
  return OkStatus();
}

}  // namespace

Result<LocalDataset> FindFiles(const std::string& path) {
  LocalDataset dataset;
  std::error_code error;
  const fs::path root = fs::path(path).lexically_normal();
  const fs::file_status status = fs::status(root, error);
  if (error) return ErrnoStatus("cannot inspect '" + path + "'", error.value());
  auto add = [&dataset](const fs::path& file, std::string name) -> Status {
    std::error_code failure;
    const auto size = static_cast<int64_t>(fs::file_size(file, failure));
    if (failure) return ErrnoStatus("cannot inspect '" + file.string() + "'", failure.value());
    dataset.files.push_back({std::move(name), "", size});
    return OkStatus();
  };
  if (fs::is_regular_file(status)) {
    dataset.folder = root.has_parent_path() ? root.parent_path().string() : ".";
    RETURN_IF_ERROR(add(root, root.filename().string()));
    return dataset;
  }
  if (!fs::is_directory(status))
    return InvalidArgument("'" + path + "' is neither a file nor a folder");
  dataset.folder = root.string();
  for (auto it = fs::recursive_directory_iterator(root, error);
       !error && it != fs::recursive_directory_iterator(); it.increment(error)) {
    const std::string found = it->path().string();
    if (it->path().filename().string().starts_with('.')) {
      ++dataset.hidden;
      it.disable_recursion_pending();
      continue;
    }
    const bool folder = it->is_directory(error);
    if (error) break;
    if (folder && it->is_symlink()) {
      return InvalidArgument("'" + found + "' is a link to a folder, which is not followed",
                             "put that folder in its place, or leave the link out");
    }
    if (folder) continue;
    if (!it->is_regular_file(error))
      return InvalidArgument("'" + found + "' is neither a file nor a folder");
    RETURN_IF_ERROR(add(it->path(), it->path().lexically_relative(root).string()));
    if (dataset.files.size() > spec::kMaxDatasetFiles) break;  // the check tells
  }
  if (error) return ErrnoStatus("cannot list '" + path + "'", error.value());
  return dataset;
}

Status HashFiles(LocalDataset* dataset, const BytesDone& progress) {
  for (spec::DatasetFile& file : dataset->files) {
    Sha256 hash;
    int64_t bytes = 0;
    const std::string path = dataset->folder + "/" + file.path;
    RETURN_IF_ERROR(ReadPieces(path, [&](std::string_view piece) {
      hash.Update(piece);
      bytes += static_cast<int64_t>(piece.size());
      progress(static_cast<int64_t>(piece.size()));
      return OkStatus();
    }));
    if (bytes != file.size) return Changed(path);
    file.sha256 = hash.Hex();
  }
  return spec::CheckDatasetFiles(&dataset->files);
}

Result<PutResult> PutDataset(Client* client, const LocalDataset& dataset, const std::string& name,
                             const std::string& version,
                             const std::function<void(int64_t files, int64_t bytes)>& begin,
                             const BytesDone& progress) {
  protocol::PutDatasetRequest request;
  request.set_name(name);
  request.set_version(version);
  for (const spec::DatasetFile& file : dataset.files) {
    protocol::DatasetFile* wire = request.add_files();
    wire->set_path(file.path);
    wire->set_sha256(file.sha256);
    wire->set_size(file.size);
  }
  PutResult result;
  for (int round = 0; round < kMostRounds; ++round) {
    auto response = client->Call(client->datasets(),
                                 &protocol::DatasetService::StubInterface::PutDataset, request);
    if (!response.ok()) return response.status();
    if (response->has_dataset()) {
      result.dataset = response->dataset();
      result.existed = response->existed();
      return result;
    }
    // Each content once.
    std::set<std::string> seen;
    std::vector<const spec::DatasetFile*> wanted;
    int64_t bytes = 0;
    for (int32_t place : response->missing()) {
      if (place < 0 || static_cast<size_t>(place) >= dataset.files.size())
        return Internal("the server asks for a file that was not offered");
      const spec::DatasetFile& file = dataset.files[static_cast<size_t>(place)];
      if (!seen.insert(file.sha256).second) continue;
      wanted.push_back(&file);
      bytes += file.size;
    }
    begin(static_cast<int64_t>(wanted.size()), bytes);
    for (const spec::DatasetFile* file : wanted) {
      RETURN_IF_ERROR(Send(client, dataset.folder + "/" + file->path, *file, progress));
      ++result.sent_files;
      result.sent_bytes += file->size;
    }
  }
  return Unavailable("files of the data set go missing on the server again and again",
                     "put it once more");
}

}  // namespace cyxwiz::cli
