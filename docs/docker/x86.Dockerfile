# The perception node for x86-64 with an NVIDIA GPU (TensorRT 10.3, Ubuntu 22.04, ROS 2 Humble).
#
#   docker build -f docs/docker/x86.Dockerfile -t gaussian_yolo:x86 .
#   docker run --rm -it --gpus all --network host --ipc host -v gaussian_yolo_engines:/engines \
#       gaussian_yolo:x86 gaussian-yolo doctor
#
# Engines are built where they run, into a volume, because they fit only the GPU that they were built on.
FROM nvcr.io/nvidia/tensorrt:24.08-py3

ENV DEBIAN_FRONTEND=noninteractive LANG=C.UTF-8 ROS_DISTRO=humble
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends \
        build-essential cmake curl git python3-dev python3-pip software-properties-common \
    && add-apt-repository -y universe \
    && curl -fsSL https://raw.githubusercontent.com/ros/rosdistro/master/ros.key \
        -o /usr/share/keyrings/ros-archive-keyring.gpg \
    && echo "deb [arch=amd64 signed-by=/usr/share/keyrings/ros-archive-keyring.gpg] \
        http://packages.ros.org/ros2/ubuntu jammy main" > /etc/apt/sources.list.d/ros2.list \
    && apt-get update && apt-get install -y --no-install-recommends \
        python3-colcon-common-extensions python3-opencv python3-yaml \
        ros-humble-ros-base ros-humble-vision-msgs \
    && rm -rf /var/lib/apt/lists/*

# numpy stays below 2, which Ubuntu's OpenCV was built for. Linking needs the driver's stub: no driver is there now.
RUN CPATH=/usr/local/cuda/include LIBRARY_PATH=/usr/local/cuda/lib64:/usr/local/cuda/lib64/stubs \
    python3 -m pip install --no-cache-dir 'numpy==1.26.4' 'pycuda==2024.1.2' 'onnx==1.17.0' 'onnxruntime==1.22.1' 'openvino==2025.4.1' \
        'typer==0.17.5' 'rich==13.9.4'

WORKDIR /ws
COPY . src/gaussian_yolo
RUN cmake -S src/gaussian_yolo/engines/plugin -B build/plugin -DCMAKE_BUILD_TYPE=Release -DTENSORRT_ROOT=/usr \
        -DCMAKE_CUDA_COMPILER=/usr/local/cuda/bin/nvcc \
    && cmake --build build/plugin \
    && install -D build/plugin/libgaussian_yolo_plugin.so /opt/gaussian_yolo/libgaussian_yolo_plugin.so \
    && bash -c "source /opt/ros/humble/setup.bash && colcon build --packages-select gaussian_yolo" \
    && useradd --create-home --groups video perception \
    && install -d -o perception /engines
ENV GAUSSIAN_YOLO_PLUGIN=/opt/gaussian_yolo/libgaussian_yolo_plugin.so PATH=/ws/install/gaussian_yolo/lib/gaussian_yolo:$PATH

COPY docs/docker/entrypoint.sh /entrypoint.sh
USER perception
ENTRYPOINT ["/entrypoint.sh"]
CMD ["ros2", "launch", "gaussian_yolo", "perception.launch.py", "runtime:=tensorrt"]
