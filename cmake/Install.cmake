# cmake --install, in the places of GNUInstallDirs. docs/deploy.md says what is where.
include(GNUInstallDirs)

set(programs kvpareto-tune kvpareto-sim)
if(KVPARETO_BUILD_SERVER)
  list(APPEND programs kvpareto-server kvpareto)
endif()
set(data ${CMAKE_INSTALL_DATADIR}/kvpareto)

if(KVPARETO_BUNDLE)
  set(libraries lib/kvpareto)
  foreach(program ${programs})
    set_target_properties(${program} PROPERTIES INSTALL_RPATH "$ORIGIN/../${libraries}")
    # The old kind of run path also holds for the libraries of libraries.
    target_link_options(${program} PRIVATE -Wl,--disable-new-dtags)
  endforeach()
  install(TARGETS ${programs} RUNTIME_DEPENDENCY_SET kvpareto_libraries)
  # The C library and the loader belong to the system, the driver to the machine with the GPU.
  install(RUNTIME_DEPENDENCY_SET kvpareto_libraries
    PRE_EXCLUDE_REGEXES "^lib(c|m|dl|rt|pthread|resolv|cuda)\\.so" "^ld-linux"
    POST_EXCLUDE_REGEXES "/ld-linux[^/]*$"
    LIBRARY DESTINATION ${libraries})
else()
  install(TARGETS ${programs})
endif()

install(DIRECTORY deploy/tables DESTINATION ${data})
install(DIRECTORY deploy/grafana deploy/prometheus DESTINATION ${data})
install(FILES README.md CHANGELOG.md LICENSE NOTICE deploy/server.example.yaml deploy/slo.example.yaml deploy/slo.schema.json DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY docs DESTINATION ${CMAKE_INSTALL_DOCDIR})

# A bundle is put anywhere, so it has no unit and no configuration with paths.
if(KVPARETO_BUILD_SERVER AND NOT KVPARETO_BUNDLE)
  foreach(file package/server.yaml systemd/kvpareto.service)
    configure_file(deploy/${file}.in ${CMAKE_CURRENT_BINARY_DIR}/deploy/${file} @ONLY)
  endforeach()
  install(FILES ${CMAKE_CURRENT_BINARY_DIR}/deploy/package/server.yaml
          DESTINATION ${CMAKE_INSTALL_FULL_SYSCONFDIR}/kvpareto)
  install(FILES ${CMAKE_CURRENT_BINARY_DIR}/deploy/systemd/kvpareto.service DESTINATION lib/systemd/system)
endif()

if(KVPARETO_BUILD_SERVER)
  # Made by the programs themselves, so that they cannot lag behind them.
  find_package(Python3 REQUIRED COMPONENTS Interpreter)
  set(made ${CMAKE_CURRENT_BINARY_DIR}/install)
  install(CODE "execute_process(COMMAND_ERROR_IS_FATAL ANY COMMAND ${Python3_EXECUTABLE}
    ${CMAKE_CURRENT_SOURCE_DIR}/scripts/describe_programs.py $<TARGET_FILE:kvpareto>
    $<TARGET_FILE:kvpareto-server> $<TARGET_FILE:kvpareto-tune>
    $<TARGET_FILE:kvpareto-sim> ${made})")
  install(DIRECTORY ${made}/man1 DESTINATION ${CMAKE_INSTALL_MANDIR})
  install(FILES ${made}/bash/kvpareto DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
  install(FILES ${made}/zsh/_kvpareto DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/vendor-completions)
endif()
